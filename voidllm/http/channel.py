"""twisted.web's channel, as strict about framing as the fast front.

A head is collected first and judged by the same code that judges it on the front; only
then are its lines given to :class:`twisted.web.http.HTTPChannel`, in the form that was
checked. So whatever one face refuses, the other refuses too, with the same error.
"""

from __future__ import annotations

from typing import Any, Callable, TypeAlias

from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from voidllm.core.errors import Refusal
from voidllm.core.world import World
from voidllm.http.chunked import ChunkedDecoder
from voidllm.http.dispatch import is_fast
from voidllm.http.framing import (
    BadMessage,
    Head,
    RequestLine,
    head_too_large,
    malformed,
    parse_head,
    parse_request_line,
)
from voidllm.http.linger import Linger
from voidllm.http.population import FRESH_S, Population
from voidllm.http.replies import JSON, error_body, refusal_reply
from voidllm.http.reply_head import DateLine, choose_request_id, field_lines, new_request_id, status_line
from voidllm.http.settings import FrontSettings
from voidllm.http.watch import Watch
from voidllm.http.writing import WriteWatch

_IDLE, _HEAD, _BODY, _REPLY, _OVER = range(5)

#: Gets fields (lower-case names), request id and monotonic seconds of the first byte; raises a
#: :class:`~voidllm.core.errors.Refusal` for whom no body is to be read.
Welcome: TypeAlias = Callable[[list[tuple[bytes, bytes]], str, float], None]


# twisted.web's classes are largely without types; as Any they can be called at all.
_Channel: Any = HTTPChannel
_LineReceiver: Any = LineReceiver


class _ChunkedBody:
    """Our chunked decoder where the base class expects one of its own."""

    def __init__(self, channel: StrictChannel) -> None:
        self._channel = channel
        self._decoder = ChunkedDecoder()

    def dataReceived(self, data: bytes) -> None:
        """Decode some bytes into the request that is being read."""
        decoder = self._decoder
        channel = self._channel
        try:
            decoded = decoder.feed(data)
        except BadMessage as bad:
            channel.refuse(bad)
            return
        if decoded:
            channel.requests[-1].handleContentChunk(decoded)
        if decoder.done:
            channel._finishRequestBody(decoder.rest)

    def noMoreData(self) -> None:
        """The connection is gone; whoever waits learns it from the request."""


class StrictChannel(_Channel):  # type: ignore[misc]
    """One connection of a :class:`~voidllm.http.site.StrictSite`.

    :ivar started_s: monotonic seconds when the running request's first byte was seen.
    :ivar body_limit: most bytes of the running request's body.
    """

    # The checks of this class come first and are stricter; these must not get in their way.
    totalHeadersSize = 1 << 30
    maxHeaders = 1 << 30

    def __init__(self, world: World, settings: FrontSettings, population: Population, date: DateLine) -> None:
        super().__init__()
        self.world = world
        self.settings = settings
        self.population = population
        self.date = date
        self.MAX_LENGTH = settings.max_head_bytes
        self.started_s = 0.0
        self.body_limit = 0
        self.persistent: int = 1
        self._phase = _IDLE
        self._fresh = True
        self._lines: list[bytes] = []
        self._size = 0
        self._blank_seen = False
        self._line: RequestLine | None = None
        self._head: Head | None = None
        self._linger: Linger | None = None
        self._watch = Watch(world.reactor, 10.0, self._close)

    # -- the transport's side

    def connectionMade(self) -> None:
        """Begin to wait for a request."""
        super().connectionMade()
        self._write_watch = WriteWatch(self.world.reactor, self.settings.write_timeout_s, self.transport)
        self.population.connections.add(self)
        self.setTimeout(self.population.first_wait_s(self.settings.idle_timeout_s))

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the base class's timing is replaced, see :meth:`_begin_head`."""
        if self._linger is not None:
            self._linger.data(len(data))
            return
        if self._phase == _OVER:
            return
        if self._phase == _IDLE:
            self._begin_head()
        elif self._phase == _BODY:
            self.resetTimeout()
        _LineReceiver.dataReceived(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the running request that its client is gone."""
        self._phase = _OVER
        self._linger = None
        self._watch.stop()
        self._write_watch.stop()
        super().connectionLost(reason)
        self.population.remove(self)

    def pauseProducing(self) -> None:
        """The client reads too slowly."""
        self._write_watch.begin()
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """The client reads again."""
        if self._phase != _OVER:
            self._write_watch.clear()
        super().resumeProducing()

    # -- the population's side

    def drain(self) -> None:
        """Close now if no message was begun; a running reply is the last one."""
        if self._phase != _IDLE:
            return
        if self._fresh:
            self.setTimeout(FRESH_S)
        else:
            self._close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._phase = _OVER
        self.transport.abortConnection()

    # -- messages

    def _begin_head(self) -> None:
        """Time a head from its first byte, absolutely: no byte in between extends it."""
        self._phase = _HEAD
        self._fresh = False
        self.started_s = self.world.reactor.seconds()
        self.setTimeout(self.settings.head_timeout_s)

    def lineReceived(self, line: bytes) -> None:
        """Collect a head, judge it, and let the base class read it."""
        if self._phase == _OVER or not self.persistent:
            return
        try:
            self._take_line(line)
        except BadMessage as bad:
            self.refuse(bad)

    def _take_line(self, line: bytes) -> None:
        self._size += len(line) + 2
        if self._size > self.settings.max_head_bytes:
            raise head_too_large()
        if not self._lines:
            if not line:
                if self._blank_seen:
                    raise malformed("there is more than one empty line before the request")
                self._blank_seen = True
                return
            self._line = parse_request_line(line)
        if line:
            self._lines.append(line)
            return
        request_line = self._line
        assert request_line is not None
        lines = self._lines
        head = parse_head(b"\r\n".join(lines) + b"\r\n\r\n", request_line, self.settings.max_fields)
        settings = self.settings
        proxied = is_fast(request_line.method, request_line.path)
        self.body_limit = settings.max_body_bytes
        if not proxied:
            self.body_limit = min(settings.max_body_bytes, settings.max_other_body_bytes)
        if head.content_length is not None and head.content_length > self.body_limit:
            raise BadMessage(413, "request_too_large", "the request body is too large")
        if proxied and head.content_length != 0 and not self._is_welcome(head):
            return
        self._head = head
        self._lines = []
        self._line = None
        self._size = 0
        self._blank_seen = False
        self._phase = _BODY
        self.setTimeout(self.settings.read_timeout_s)
        target = request_line.path
        if request_line.query:
            target += b"?" + request_line.query
        version = b"HTTP/1.0" if request_line.old else b"HTTP/1.1"
        super().lineReceived(b" ".join((request_line.method, target, version)))
        for collected in lines[1:]:
            super().lineReceived(collected)
        super().lineReceived(b"")

    def _is_welcome(self, head: Head) -> bool:
        """Ask before a body is read, which can be large, and answer whoever may not send one."""
        welcome = self.site.welcome
        if welcome is None:
            return True
        request_id = choose_request_id(head.request_id, self.world)
        try:
            welcome(head.headers, request_id, self.started_s)
        except Refusal as refusal:
            headers, body = refusal_reply(refusal, request_id)
            self._answer_and_close(refusal.status, headers, body, request_id)
            return False
        return True

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line outgrew the head's limit."""
        self.refuse(head_too_large())

    def rawDataReceived(self, data: bytes) -> None:
        """Take body bytes, or hold what is pipelined."""
        if self._phase != _OVER:
            super().rawDataReceived(data)

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        if header == b"Transfer-Encoding":
            # The head was judged, so this is chunked and there is no Content-Length.
            self.length = None
            self._transferDecoder = _ChunkedBody(self)
            return True
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Decide by the judged head whether another request may follow."""
        assert self._head is not None
        keep = self._head.keep_alive and not self._head.line.old
        if not keep:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return keep

    def allContentReceived(self) -> None:
        """The request is complete; its reply may take any time."""
        if self._phase == _OVER:
            return
        self._phase = _REPLY
        super().allContentReceived()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Write a reply's head; while draining it is the connection's last."""
        if self.population.draining and self.persistent:
            self.persistent = 0
            headers.setRawHeaders(b"Connection", [b"close"])
        super().writeHeaders(version, code, reason, headers)

    def requestDone(self, request: Any) -> None:
        """The reply is complete: close, or look at what was pipelined."""
        # The base class would restore the timeout of the body.
        self._savedTimeOut = None
        if self.population.draining:
            self.persistent = 0
        if self.persistent:
            if any(self._dataBuffer):
                self._begin_head()
            else:
                self._phase = _IDLE
                self.setTimeout(self.settings.idle_timeout_s)
        super().requestDone(request)

    # -- ends

    def loseConnection(self) -> None:
        """Close once everything is written, or has not been taken for too long."""
        self._phase = _OVER
        self._write_watch.begin()
        super().loseConnection()

    def timeoutConnection(self) -> None:
        """Nothing came in time: 408 within a message, silence between two."""
        if self._phase in (_HEAD, _BODY):
            self.refuse(BadMessage(408, "request_timeout", "the request did not arrive in time"))
        else:
            self._close()

    def refuse(self, bad: BadMessage) -> None:
        """Answer a message that never became a request, and close."""
        if self._phase == _OVER:
            return
        request_id = new_request_id(self.world)
        body = error_body(bad.status, bad.code, bad.message, None, request_id)
        self._answer_and_close(bad.status, [JSON], body, request_id)

    def _answer_and_close(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, request_id: str
    ) -> None:
        self._phase = _OVER
        self.setTimeout(None)
        self.clearLineBuffer()
        fields = field_lines(
            [
                *headers,
                (b"Content-Length", b"%d" % len(body)),
                (b"Connection", b"close"),
                (b"X-Request-Id", request_id.encode("ascii")),
            ]
        )
        self.transport.write(status_line(status, False) + self.date() + fields + b"\r\n" + body)
        self._networkProducer.resumeProducing()
        self._linger = Linger(self.transport, self.world.reactor, self._watch, self._close)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse what only the base class has noticed, such as a broken chunk."""
        self.refuse(malformed("the request is malformed"))

    def _close(self) -> None:
        self._phase = _OVER
        self._linger = None
        self.setTimeout(None)
        self._watch.clear()
        self.loseConnection()
