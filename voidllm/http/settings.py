"""What an operator can set about the listening side."""

from __future__ import annotations

from attrs import frozen


@frozen
class FrontSettings:
    """Limits of a front; every one of them is finite.

    :ivar max_head_bytes: request line and fields, in bytes.
    :ivar max_fields: number of fields of a head.
    :ivar max_body_bytes: bodies that the buffering twisted.web face takes; the fast front
        leaves the limit to the handler, which names it when it asks for the body.
    :ivar max_other_body_bytes: the same for paths that are not proxied. Whoever sends them is not
        known before the whole body is there, so that it has to be small.
    :ivar head_timeout_s: from the first byte of a head to its last, absolute.
    :ivar read_timeout_s: longest silence within a body that is being waited for.
    :ivar write_timeout_s: longest time in which the client takes no byte of a reply.
    :ivar idle_timeout_s: longest time between two requests.
    :ivar trusted_proxies: networks (``10.0.0.0/8``) whose ``X-Forwarded-For`` is believed.
    """

    max_head_bytes: int = 32 << 10
    max_fields: int = 100
    max_body_bytes: int = 20 << 20
    max_other_body_bytes: int = 64 << 10
    head_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    write_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    trusted_proxies: tuple[str, ...] = ()
