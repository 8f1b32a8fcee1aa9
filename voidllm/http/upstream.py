"""What goes to an upstream and how it can fail; shared by both engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from voidllm.core.model import SYSTEM_TLS, UpstreamTLS
from voidllm.core.values import value

if TYPE_CHECKING:
    from voidllm.http.sampling import Probe

#: Kinds of failure, each with a defined answer (design: faults are designed, not caught).
FAILURE_KINDS = (
    "refused",  # connection refused, unreachable or reset while connecting
    "dns",  # name not resolved
    "tls",  # handshake or certificate
    "connect_timeout",
    "head_timeout",  # no reply head in time
    "stall",  # no body progress in time
    "cut",  # connection lost before the reply was complete
    "malformed",  # not HTTP, or broken framing
    "busy",  # the queue for this origin is full, or the wait was too long
    "proxy",  # the CONNECT proxy refused
    "closed",  # the pool is shutting down
)


@frozen
class UpstreamFailure:
    """Why a call has no complete reply.

    :ivar kind: one of :data:`FAILURE_KINDS`.
    :ivar sent: whether the upstream may have seen the request.
    :ivar detail: a fixed text of ours, never bytes from the wire.
    """

    kind: str
    sent: bool
    detail: str = ""


@frozen(cache_hash=True)
class Origin:
    """Where connections go and what they share: the key of the pool."""

    scheme: str
    host: str
    port: int
    tls: UpstreamTLS = SYSTEM_TLS
    proxy_url: str | None = field(default=None, repr=False)


@define(eq=False)
class FixedHeaders:
    """Headers that many requests have in common, checked and encoded once.

    :ivar pairs: (name, value) pairs.
    :ivar start: how the head of the last request with them began, the pairs included.
    :ivar start_for: who wrote that, and for which method and target.
    """

    pairs: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    start: bytes = field(default=b"", init=False, repr=False)
    start_for: tuple[Any, bytes, bytes] | None = field(default=None, init=False, repr=False)


@define(eq=False)
class ReplyHead:
    """The head of a reply that came in one piece, for sinks that can take it so.

    A connection gives the same object again when its upstream says the same again.

    :ivar headers: (lower-case name, value) pairs.
    :ivar content_length: of the body that comes with it.
    :ivar keep_alive_s: how long the upstream keeps an idle connection, if it said so.
    :ivar memo: a sink's own, as long as nothing but ``content_length`` changes.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    content_length: int | None
    keep_alive_s: float | None
    memo: Any = None


@value
class UpstreamRequest:
    """One request to an upstream.

    :ivar target: path and query, as sent on the wire.
    :ivar headers: (name, value) pairs; Host, Content-Length and Connection are added.
    :ivar body: the whole body, or an ``IBodyProducer`` (``length`` may be UNKNOWN_LENGTH).
    :ivar connect_timeout_s: until connected, TLS included.
    :ivar head_timeout_s: from request sent to reply head; ``None`` for no limit.
    :ivar idle_timeout_s: longest silence within the body; ``None`` for no limit.
    :ivar total_timeout_s: from call to last byte; ``None`` for no limit.
    :ivar may_resend: whether a request may be sent again when a *reused* connection
        closed with zero reply bytes. Only with ``body`` as bytes.
    :ivar fixed: headers that are sent before the others.
    :ivar probe: wants to know when a ``body`` of bytes was sent, and when the reply to it came.
    """

    origin: Origin
    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: Any = b""
    connect_timeout_s: float = 10.0
    head_timeout_s: float | None = 600.0
    idle_timeout_s: float | None = 120.0
    total_timeout_s: float | None = None
    may_resend: bool = True
    fixed: FixedHeaders | None = None
    probe: Probe | None = None
