"""A reply of the pool as Twisted's ``IResponse``."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import RESPONSES, PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IClientRequest, IResponse
from zope.interface import implementer

from voidllm.http.lazy_headers import LazyHeaders


@implementer(IClientRequest)
@frozen
class SentRequest:
    """What a response says about its request."""

    method: bytes
    absoluteURI: bytes
    headers: Headers | None


@implementer(IResponse)
class PoolResponse:
    """One reply; its body waits, unread beyond one segment, for :meth:`deliverBody`.

    :param transport: what the body's protocol is given.
    :ivar wanted: ``deliverBody`` was called.
    :ivar ended: nothing more will come.
    """

    version = (b"HTTP", 1, 1)

    def __init__(
        self,
        transport: Any,
        status: int,
        headers: list[tuple[bytes, bytes]],
        method: bytes,
        uri: bytes,
        request_headers: Headers | None,
    ) -> None:
        self._transport = transport
        self._sent = (method, uri, request_headers)
        self.code = status
        self.headers = LazyHeaders(headers)
        self.previousResponse: Any = None
        self.wanted = False
        self.ended = False
        self._protocol: Any = None
        self._parts: list[bytes] = []
        self._end: Failure | None = None
        self._until_close = False
        self.length: Any = UNKNOWN_LENGTH
        if method == b"HEAD" or status == 204 or status == 304:
            self.length = 0
        else:
            chunked = False
            for name, value in headers:
                if name == b"content-length":
                    self.length = int(value)
                elif name == b"transfer-encoding":
                    chunked = True
            self._until_close = not chunked and self.length is UNKNOWN_LENGTH

    @property
    def phrase(self) -> bytes:
        """The standard phrase of the status; the upstream's own is not kept."""
        phrase: bytes = RESPONSES.get(self.code, b"")
        return phrase

    @property
    def request(self) -> SentRequest:
        """What was sent."""
        return SentRequest(*self._sent)

    def setPreviousResponse(self, response: Any) -> None:
        """Remember a redirect that led here; there are none."""
        self.previousResponse = response

    def deliverBody(self, protocol: Any) -> None:
        """Give the body to ``protocol``; once only."""
        if self.wanted:
            raise RuntimeError("the body has been delivered already")
        self.wanted = True
        self._protocol = protocol
        protocol.makeConnection(self._transport)
        parts, self._parts = self._parts, []
        for part in parts:
            protocol.dataReceived(part)
        if self._end is not None:
            self._finish(self._end)
        else:
            self._transport.body_wanted()

    # -- the exchange's side

    def data(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        else:
            self._parts.append(data)

    def complete(self) -> None:
        """The body is complete, as far as its framing tells."""
        self._finish(Failure(PotentialDataLoss() if self._until_close else ResponseDone()))  # type: ignore[no-untyped-call]

    def broken(self, reason: Failure) -> None:
        """The body will not be complete."""
        self._finish(Failure(ResponseFailed([reason])))  # type: ignore[no-untyped-call]

    def _finish(self, end: Failure) -> None:
        self.ended = True
        if self.wanted:
            protocol, self._protocol, self._end = self._protocol, None, None
            if protocol is not None:
                protocol.connectionLost(end)
        else:
            self._end = end
