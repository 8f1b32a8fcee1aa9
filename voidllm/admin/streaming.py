"""Long replies in pieces: only as fast as the client reads, and never more than a piece in memory."""

from __future__ import annotations

from typing import Any, AsyncGenerator

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

_log = Logger()


@frozen(eq=False)
class Stream:
    """What a handler gives for a reply that is not one value; see :attr:`Route.media`.

    :ivar media: content type.
    :ivar name: of the file that a browser makes of it.
    :ivar pieces: are asked for one by one; what fails before the first one is an ordinary error
        reply, later ones cut the connection, so that half a reply never passes for a whole one.
    """

    media: str
    name: str
    pieces: AsyncGenerator[bytes, None] = field(repr=False)


@implementer(IPushProducer)
class _Gate:
    """Stands open while the client reads."""

    def __init__(self) -> None:
        self._closed = False
        self._waiting: Deferred[None] | None = None

    async def passed(self) -> None:
        """Wait until the client has read what it was sent."""
        if self._closed:
            self._waiting = Deferred()
            await self._waiting

    def pauseProducing(self) -> None:
        """The client reads more slowly than we send."""
        self._closed = True

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self._closed = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; whoever sends is cancelled by the request."""


async def send(request: Any, stream: Stream, status: int = 200) -> bytes:
    """Answer a request with a stream; gives the rest of the body, which is nothing.

    :param request: of twisted.web; its Deferred is cancelled when the client is gone.
    """
    pieces = stream.pieces
    try:
        try:
            first = await anext(pieces)
        except StopAsyncIteration:
            first = b""
        request.setResponseCode(status)
        request.setHeader(b"content-type", stream.media.encode("ascii"))
        request.setHeader(b"content-disposition", f'attachment; filename="{stream.name}"'.encode("ascii"))
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-content-type-options", b"nosniff")
        if request.method != b"HEAD":
            await _write(request, first, pieces)
    finally:
        await pieces.aclose()
    return b""


async def _write(request: Any, first: bytes, pieces: AsyncGenerator[bytes, None]) -> None:
    gate = _Gate()
    request.registerProducer(gate, True)
    try:
        request.write(first)
        await gate.passed()
        async for piece in pieces:
            request.write(piece)
            await gate.passed()
    except CancelledError:
        raise
    except Exception as error:
        _log.warn("a reply was cut: {kind}", kind=type(error).__name__)
        request.channel.abort()
        # Nothing more may be sent; this is cancelled when the connection is gone.
        await Deferred()
    finally:
        request.unregisterProducer()
