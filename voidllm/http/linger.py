"""Close a connection so that a client that is still sending can read the reply.

Closing a socket with unread input makes the kernel send a reset, which may destroy the
reply in the client's own buffer. So only the sending half is closed first, and what still
comes in is thrown away for a bounded time (RFC 9112 section 9.6).
"""

from __future__ import annotations

from typing import Any, Callable

from twisted.internet.interfaces import ISSLTransport, ITCPTransport

from voidllm.http.watch import Watch

_SILENCE_S = 2.0
_TOTAL_S = 15.0
_MAX_BYTES = 64 << 20


def half_close(transport: Any) -> None:
    """Send the end of our half once everything is written, where the transport can do that."""
    # Under TLS this call would reach the socket below and cut what TLS has still to send.
    if ITCPTransport.providedBy(transport) and not ISSLTransport.providedBy(transport):
        close = getattr(transport, "loseWriteConnection", None)
        if close is not None:
            close()


class Linger:
    """Throws input away until the client closes, falls silent, or has sent too much.

    :param watch: a watch of the connection's; its expiry must call ``finish``.
    :param finish: closes the connection for good.
    """

    __slots__ = ("_bytes", "_clock", "_end", "_finish", "_watch")

    def __init__(self, transport: Any, clock: Any, watch: Watch, finish: Callable[[], None]) -> None:
        self._clock = clock
        self._watch = watch
        self._finish = finish
        self._bytes = 0
        now = clock.seconds()
        self._end = now + _TOTAL_S
        watch.set(now, _SILENCE_S)
        half_close(transport)

    def data(self, size: int) -> None:
        """Count ``size`` bytes that were thrown away."""
        self._bytes += size
        now = self._clock.seconds()
        if self._bytes > _MAX_BYTES or now >= self._end:
            self._watch.clear()
            self._finish()
        else:
            self._watch.set(now, min(_SILENCE_S, self._end - now))
