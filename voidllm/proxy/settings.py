"""What the proxy lets itself be told."""

from __future__ import annotations

from attrs import frozen


@frozen
class ProxySettings:
    """Bounds and patience of the ``/v1`` proxy; sizes in bytes, times in seconds.

    :ivar spool_dir: private folder for the encrypted beginnings of uploads.
    :ivar commit_after_s: how long a stream's reply head waits for the first event.
    :ivar keepalive_s: silence after which a committed stream gets a comment.
    :ivar idle_timeout_s: longest silence of an upstream within a body.
    :ivar first_token_timeout_s: from call to first token of a stream; ``None`` is off.
    :ivar max_stream_duration_s: from upstream head to last byte; ``None`` is off.
    :ivar tag_headers: request headers, in lower case, that tags are read from.
    :ivar server_timing: whether replies say how long the gateway and the upstream took.
    """

    spool_dir: str
    max_request_body: int = 20 << 20
    max_response_body: int = 50 << 20
    max_event: int = 4 << 20
    connect_timeout_s: float = 10.0
    head_timeout_s: float = 600.0
    idle_timeout_s: float = 120.0
    commit_after_s: float = 15.0
    keepalive_s: float = 15.0
    first_token_timeout_s: float | None = None
    max_stream_duration_s: float | None = None
    server_timing: bool = False
    tag_headers: tuple[bytes, ...] = ()
