"""One connection to an upstream: a request out, a reply in, again and again.

The parser's callbacks only take notes; everything is acted on after each segment, so that
a sink may cancel from within any of its methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import httptools
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from voidllm.http.direct import listener, sender
from voidllm.http.known_head import LONGEST, KnownHead
from voidllm.http.pool_call import PoolCall
from voidllm.http.reply_framing import MAX_FIELDS, MAX_HEAD_BYTES, ReplyFraming, frame
from voidllm.http.upload import Upload
from voidllm.http.upstream import ReplyHead
from voidllm.http.writing import unsent

if TYPE_CHECKING:
    from voidllm.http.pool import OriginGroup, UpstreamPool

#: Informational replies (RFC 9110, 15.2) before the final one.
_MAX_INFORMATIONAL = 16
_LARGE_BODY = 16 << 10
#: Most bytes of a chunk's size that is read here, its line end included.
_LONGEST_SIZE = 10
#: Replies in a row with a head of their own after which none is expected to come again.
_MOST_STRANGE = 8


class UpstreamConnection(Protocol):
    """Speaks HTTP/1.1 as a client.

    :param raw: the TCP transport, below TLS if there is any.
    :ivar is_quiet: says whether the upstream has neither spoken nor left since its reply, as far
        as the kernel knows; the reactor may not have come round to it.
    :ivar expires: until when it may be used again while idle, on the reactor's clock.
    """

    # fmt: off
    __slots__ = (
        "_between_chunks", "_call", "_chunk_over", "_complete", "_fault", "_framing", "_head_told",
        "_headers", "_heard", "_informational", "_known", "_parser", "_parts", "_paused", "_pool", "_raw",
        "_send", "_status", "_strange", "_surplus", "_unparsed", "_upload", "_used", "closed", "connected",
        "expires", "factory", "group", "is_quiet", "transport",
    )
    # fmt: on

    transport: Any

    def __init__(self, pool: UpstreamPool, group: OriginGroup, raw: Any) -> None:
        self.transport = None
        self._pool = pool
        self.group = group
        self._raw = raw
        self._call: PoolCall | None = None
        self._upload: Upload | None = None
        self._parser: Any = None
        self._send: Callable[[bytes], Any]
        self.is_quiet: Callable[[], bool]
        self._known: KnownHead[ReplyHead] | None = None
        self._strange = 0
        self._used = False
        self.closed = False
        self.expires = 0.0
        self._paused = False
        self._begin_reply()

    def _begin_reply(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._framing: ReplyFraming | None = None
        self._status = 0
        self._informational = 0
        self._unparsed = 0
        self._heard = False
        self._head_told = False
        self._complete = False
        #: The parser's last word was the end of a chunk; and nothing but that has come since.
        self._chunk_over = self._between_chunks = False
        self._surplus = False
        self._fault = ""

    # -- the pool's side

    def connectionMade(self) -> None:
        """Be ready for the first request."""
        self._send = sender(self.transport)
        # TLS has traffic of its own: there, what waits need not be a reply.
        self.is_quiet = listener(self.transport)

    def start(self, call: PoolCall, now: float) -> None:
        """Send a call's request; the connection is the call's until it is complete."""
        if self._heard:
            self._begin_reply()
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._call = call
        call.connection = self
        call.sent = True
        request = call.request
        call.enter("head_timeout", request.head_timeout_s, now)
        if call.paused:
            self.pause()
        body = request.body
        if isinstance(body, bytes):
            self._send(call.head + body)
            if request.probe is not None:
                request.probe.wanted(self._raw)
            return
        # By the transport, as the body, so that they cannot change places.
        self.transport.write(call.head)
        self._upload = Upload(body, self.transport, self._moved, self._upload_failed)
        self._upload.start()

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and not self.closed:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self.closed:
            self._paused = False
            self.transport.resumeProducing()

    def close(self) -> None:
        """Close an idle connection; with a TLS closure alert, without waiting for the peer's."""
        if not self.closed:
            self._let_go()
            self.transport.loseConnection()
            if self.transport is not self._raw:
                self._raw.loseConnection()

    def abort(self) -> None:
        """Close now, whatever is on the way."""
        if not self.closed:
            self._let_go()
            self._raw.abortConnection()

    def _let_go(self) -> None:
        self.closed = True
        self._call = None
        self._parser = self._known = None
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.stop()

    # -- the transport's side

    def dataReceived(self, data: bytes) -> None:
        """Parse a segment, then act on what it held."""
        call = self._call
        if call is None:
            # Nothing was asked: the next reply would be taken for this one.
            self._pool.drop_idle(self)
            return
        if self._between_chunks:
            # One whole chunk, as most events come, which the parser need not see. Its size must be
            # what we would write; any other spelling, and the last chunk, is the parser's.
            at = data.find(b"\r", 0, _LONGEST_SIZE)
            size = len(data) - at - 4
            if size > 0 and data.startswith(b"%x\r\n" % size) and data.endswith(b"\r\n"):
                call.progress = True
                call.sink.got_chunk(data[at + 2 : -2])
                return
        first = not self._heard
        if first:
            known = self._known
            if known is not None and known.begins(data) and self._take_whole(call, known, data):
                return
            self._heard = True
        if self._head_told:
            # A head that trickles in is no progress: its limit is for the whole of it.
            call.progress = True
        self._unparsed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fault = self._fault or "the upstream switched protocols"
        except httptools.HttpParserError:
            self._fault = self._fault or "the reply is not HTTP"
        self._between_chunks = self._chunk_over and data.endswith(b"\r\n")
        if not self._complete and self._unparsed > MAX_HEAD_BYTES:
            self._fault = self._fault or "the reply's fields are too long"
        framing = self._framing
        if framing is not None:
            if not self._head_told:
                if framing.fault:
                    call.fail(framing.fault_kind, framing.fault)
                    return
                self._head_told = True
                # It is not sent again once something was heard.
                call.head = b""
                call.enter("stall", call.request.idle_timeout_s, self._pool.seconds())
                call.sink.got_head(self._status, self._headers)
                if self._call is not call:
                    return
            parts = self._parts
            if first and self._complete and self._strange < _MOST_STRANGE:
                self._get_to_know(call, framing, data)
            if parts:
                self._parts = []
                call.sink.got_chunk(parts[0] if len(parts) == 1 else b"".join(parts))
                if self._call is not call:
                    return
            if self._complete:
                self._finish(call)
                return
        if self._fault:
            call.fail("malformed", self._fault)

    def _take_whole(self, call: PoolCall, known: KnownHead[ReplyHead], data: bytes) -> bool:
        """Take a reply whose head is known, without parser and notes, if all of it is there.

        :returns: whether it was done.
        """
        head, size, request = known.meaning, known.size, call.request
        got_reply = getattr(call.sink, "got_reply", None)
        if (
            len(data) - size != head.content_length
            or got_reply is None
            or request.method != b"POST"
            or self._upload is not None
            or not self._is_sent(request.body)
        ):
            return False
        self._strange = 0
        self._call = call.connection = None
        pool = self._pool
        pool.busy -= 1
        if self._paused:
            self.resume()
        pool.completed(call)
        pool.recycle(self, head.keep_alive_s)
        got_reply(head, data[size:])
        return True

    def _get_to_know(self, call: PoolCall, framing: ReplyFraming, data: bytes) -> None:
        """Keep the head of a reply that came in one segment: it may come again."""
        size = sum(map(len, self._parts))
        head = data[: len(data) - size]
        if (
            len(head) <= LONGEST
            and head.startswith(b"HTTP/1.1 ")
            # No informational reply before it, and nothing of a body's framing behind it.
            and head.find(b"\r\n\r\n") == len(head) - 4
            and framing.reusable
            and (b"content-length", b"%d" % size) in self._headers
            and call.request.method == b"POST"
            and not (self._surplus or self._fault)
        ):
            self._strange += 1
            self._known = KnownHead(head, ReplyHead(self._status, self._headers, size, framing.keep_alive_s))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Find out what the end of the stream means for the reply."""
        self.transport = None
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.lost()
        call, self._call = self._call, None
        self._parser = None
        was_closed, self.closed = self.closed, True
        self._pool.connection_lost(self, was_closed)
        if call is None or call.over:
            return
        call.connection = None
        self._pool.busy -= 1
        clean = reason.check(ConnectionDone)  # type: ignore[no-untyped-call]
        if clean and self._head_told and self._framing is not None and self._framing.until_close:
            self._pool.completed(call)
            call.sink.finished()
        elif not self._heard and self._used and self._pool.resend(call):
            pass
        elif not self._heard and reason.check(SSL.Error):  # type: ignore[no-untyped-call]
            # With TLS 1.3 a refused client certificate shows only after the handshake.
            call.fail("tls", "the upstream refused the connection")
        else:
            call.fail("cut", "")

    def _finish(self, call: PoolCall) -> None:
        framing = self._framing
        assert framing is not None
        self._call = call.connection = None
        self._pool.busy -= 1
        upload = self._upload
        whole = upload.done if upload is not None else self._is_sent(call.request.body)
        if not self._used:
            self._used = True
            peer = self.group.opener.peer
            if peer is not None:
                peer.remember(self.transport.getHandle())
        if not (whole and framing.reusable and not self._surplus and not self._fault):
            self._pool.completed(call)
            self._pool.retire(self, at_once=not whole)
        else:
            if upload is not None:
                self._upload = None
                upload.settle()
            self.resume()
            if not framing.body_expected:
                # A parser that was told of a body which is not sent is of no more use.
                self._parser = None
            self._pool.completed(call)
            self._pool.recycle(self, framing.keep_alive_s)
        call.sink.finished()

    def _is_sent(self, body: bytes) -> bool:
        # What fits into the kernel's buffers was taken by it; only the rest can be waiting here.
        return len(body) < _LARGE_BODY or not unsent(self._raw)

    def _moved(self) -> None:
        if self._call is not None:
            self._call.progress = True

    def _upload_failed(self) -> None:
        call = self._call
        if call is not None:
            call.fail("cut", "the request body could not be read")

    # -- the parser's side

    def on_message_begin(self) -> None:
        """Note a second reply, which nobody asked for."""
        if self._complete:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a field; trailer fields are dropped."""
        if self._framing is None:
            headers = self._headers
            headers.append((name.lower(), value))
            if len(headers) > MAX_FIELDS:
                self._fault = "the reply has too many fields"
                raise ValueError(self._fault)

    def on_headers_complete(self) -> None:
        """Decide how the body ends."""
        if self._framing is not None:
            return
        parser = self._parser
        status = parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            return
        self._status = status
        framing = frame(
            self._call.request.method if self._call is not None else b"",
            status,
            parser.get_http_version(),
            self._headers,
            parser.should_keep_alive(),
        )
        size = sum(len(n) + len(v) for n, v in self._headers) if self._unparsed > MAX_HEAD_BYTES else 0
        if size > MAX_HEAD_BYTES:
            framing.fault = "the reply's fields are too long"
        if status == 407 and self.group.opener.proxied:
            framing.fault, framing.fault_kind = "the proxy wants other credentials", "proxy"
        self._unparsed = 0
        self._framing = framing
        if framing.fault:
            raise ValueError(framing.fault)
        if not framing.body_expected:
            self._complete = True

    def on_body(self, data: bytes) -> None:
        """Note a piece of the body."""
        if self._complete:
            self._surplus = True
        else:
            self._unparsed = 0
            self._parts.append(data)

    def on_chunk_header(self) -> None:
        """Note that a chunk has begun."""
        self._chunk_over = False

    def on_chunk_complete(self) -> None:
        """Note that a chunk has ended; the next one's size, or a part of it, may follow."""
        self._chunk_over = True

    def on_message_complete(self) -> None:
        """Note the end of the reply, unless it was an informational one."""
        if self._framing is None:
            self._headers = []
            self._informational += 1
            if self._informational > _MAX_INFORMATIONAL:
                self._fault = "too many informational replies"
                raise ValueError(self._fault)
        else:
            self._complete = True
