"""One connection of the fast front: reads requests, hands each to the handler at its head.

One request at a time. What a client pipelines behind it stays raw, in order and bounded,
and is looked at anew when the reply before it is complete, so each message is classified
by its own request line. A connection whose next message is not for this front goes to the
Site behind it, from exactly that byte on, and stays there.

A client that closes its sending half counts as gone: it cannot be told from one that left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from voidllm.http.body import BACKLOG, HANDLER, NO_BODY, ArrivingBody, WholeBody
from voidllm.http.clientaddr import plain_address
from voidllm.http.direct import LOOK_S, has_left, sender, settle
from voidllm.http.dispatch import Classifier, hand_over, log_crash
from voidllm.http.ending import BODY, HEAD, IDLE, EndingConnection
from voidllm.http.framing import BadMessage, Head, RequestLine, head_too_large, malformed, parse_head
from voidllm.http.known_head import KnownHead
from voidllm.http.message import Request
from voidllm.http.replies import JSON, error_body
from voidllm.http.reply_head import new_request_id, sent_request_id
from voidllm.http.responder import FrontResponder
from voidllm.http.watch import Watch
from voidllm.http.writing import WriteWatch

if TYPE_CHECKING:
    from voidllm.http.front import FrontFactory

#: Pipelined bytes held before reading stops; a client's leaving is not seen beyond that.
MAX_BACKLOG = 64 << 10

_LONE_LF = re.compile(rb"(?<!\r)\n")


@implementer(IPushProducer)
class FrontConnection(EndingConnection):
    """One connection of a :class:`~voidllm.http.front.FrontFactory`."""

    # More than 29 attributes in a dictionary would be 1.6 KB for each connection.
    # fmt: off
    __slots__ = (
        "_advancing", "_blank_seen", "_classifier", "_delegate", "_first_byte_s", "_line", "_lost", "_peer",
        "_peer_trusted", "_scanned", "_settings", "_wall_ms", "date", "known", "writable",
    )
    # fmt: on

    def __init__(self, factory: FrontFactory) -> None:
        super().__init__(factory)
        self._wall_ms = factory.world.wall_ms
        self._settings = factory.settings
        self._line: RequestLine | None = None
        self._classifier = Classifier(factory.is_fast)
        self.known: KnownHead[Head] | None = None
        self._scanned = 0
        self._blank_seen = False
        self._first_byte_s: float | None = None
        self._advancing = False
        self._lost = False
        self._delegate: Any = None
        self.writable = True

    # -- the transport's side

    def connectionMade(self) -> None:
        """Begin to wait for a request."""
        transport = self.transport
        no_delay = getattr(transport, "setTcpNoDelay", None)
        if no_delay is not None:
            no_delay(True)
        self.send = sender(transport)
        self.date = self.factory.date
        settings = self._settings
        tick = min(settings.head_timeout_s, settings.read_timeout_s, settings.idle_timeout_s)
        reactor = self.factory.world.reactor
        self._watch = Watch(reactor, tick, self._expired)
        self._write_watch = WriteWatch(reactor, settings.write_timeout_s, transport)
        self._peer = plain_address(getattr(transport.getPeer(), "host", "") or "")
        self._peer_trusted = self.factory.trusted.trusts(self._peer)
        self.factory.population.connections.add(self)
        transport.registerProducer(self, True)
        self._watch.set(self._seconds(), self.factory.population.first_wait_s(settings.idle_timeout_s))
        sampling = self.factory.sampling
        if sampling.left <= 0:
            self._probe = sampling.take(transport)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes for whatever is being read."""
        try:
            if self._body is not None:
                if self._body.wanted:
                    self._watch.set(self._seconds(), self._settings.read_timeout_s)
                self._body.feed(data)
            elif self._linger is not None:
                self._linger.data(len(data))
            elif self._ended:
                pass
            elif self._responder is not None:
                self._buffer += data
                if len(self._buffer) > MAX_BACKLOG:
                    self.hold_reading(BACKLOG)
            else:
                known = self.known
                if (
                    known is not None
                    and self._phase == IDLE
                    and self.writable
                    and not self._buffer
                    and known.begins(data)
                ):
                    # What ``_advance`` comes to where nothing was begun, by five calls less.
                    self._phase = BODY
                    self._watch.clear()
                    self._begin(known.meaning, data, known.size, self._seconds())
                    return
                self._buffer = self._buffer + data if self._buffer else data
                if self.writable:
                    self._advance()
                elif len(self._buffer) > MAX_BACKLOG:
                    self.hold_reading(BACKLOG)
        except Exception as error:
            self._crashed(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever is concerned that the client is gone."""
        self._lost = self._ended = True
        if self._probe is not None:
            self._end_probe(self._probe)
        delegate, self._delegate = self._delegate, None
        if delegate is not None:
            delegate.connectionLost(reason)
            return
        self._watch.stop()
        self._write_watch.stop()
        self._buffer = b""
        self._linger = None
        body, self._body = self._body, None
        if body is not None:
            body.lost()
        responder, self._responder = self._responder, None
        population = self.factory.population
        if responder is not None:
            try:
                responder.lost()
            except Exception as error:
                log_crash(error)
            population.leave()
        population.remove(self)
        self.known = None
        self.factory.forget(self)

    def pauseProducing(self) -> None:
        """The transport's buffer is full: the client reads too slowly."""
        self.writable = False
        self._write_watch.begin()
        if self._responder is not None:
            self._safely(self._responder.pause)
        elif self._phase == IDLE:
            self._watch.clear()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty again."""
        self.writable = True
        if not self._ended:
            self._write_watch.clear()
        if self._responder is not None:
            self._safely(self._responder.resume)
        elif self._body is None and not self._ended:
            self._begin_next()

    def stopProducing(self) -> None:
        """See :meth:`connectionLost`, which follows."""

    # -- messages

    def _advance(self) -> None:
        """Handle what is in the buffer, one message after the other.

        Nothing is begun for a client that does not read its replies: they would pile up.
        """
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._buffer and self._responder is None and self._body is None and not self._ended:
                if not self.writable or not self._step():
                    return
        except BadMessage as bad:
            self._refuse(bad)
            return
        finally:
            self._advancing = False
        if self._responder is None and self._body is None and not self._ended:
            self._rest()

    def _rest(self) -> None:
        """Nothing is begun and nothing is there."""
        self._phase = IDLE
        if self.factory.population.draining:
            self._close()
        elif self.writable:
            self._watch.set(self._seconds(), self._settings.idle_timeout_s)
            sampling = self.factory.sampling
            if sampling.left <= 0 and self._probe is None:
                self._probe = sampling.take(self.transport)
        else:
            # A reply is still being taken; the write watch sees to that.
            self._watch.clear()

    def _step(self) -> bool:
        """Take one message's head off the buffer; False when it is not complete or not ours.

        :raises BadMessage: when it is refused.
        """
        started = self._first_byte_s
        if started is None:
            started = self._first_byte_s = self._seconds()
        data = self._buffer
        known = self.known
        if known is not None and not self._scanned and known.begins(data):
            # The classifier has not seen another line since.
            self._head_over()
            self._begin(known.meaning, data, known.size, started)
            return True
        if data.startswith(b"\r\n"):
            if self._blank_seen:
                raise malformed("there is more than one empty line before the request")
            self._blank_seen = True
            self._scanned = 0
            data = self._buffer = data[2:]
            if not data:
                return self._wait(started)
        limit = self._settings.max_head_bytes
        line = self._line
        if line is None:
            stop = data.find(b"\r\n", max(0, self._scanned - 1), limit)
            if stop < 0:
                return self._wait(started)
            line = self._line = self._classifier(data[:stop])
        if not self._classifier.fast and self.factory.site is not None:
            self._hand_over(data)
            return False
        end = data.find(b"\r\n\r\n", max(0, self._scanned - 3), limit) + 4
        if end < 4:
            return self._wait(started)
        text = data[:end]
        head = parse_head(text, line, self._settings.max_fields)
        self.known = self.factory.get_to_know(self, text, head) if self._classifier.fast else None
        self._head_over()
        self._begin(head, data, end, started)
        return True

    def _head_over(self) -> None:
        self._line = self._first_byte_s = None
        self._blank_seen = self._fresh = False
        self._scanned = 0
        self._phase = BODY
        self._watch.clear()

    def _begin(self, head: Head, data: bytes, end: int, started: float) -> None:
        """Hand the request that begins with ``data[:end]`` to its handler."""
        length = head.content_length
        stop = end if length is None else end + length
        body: WholeBody | ArrivingBody
        if length is not None and len(data) >= stop:
            body = WholeBody(data[end:stop]) if length else NO_BODY
            self._buffer = data[stop:]
        else:
            body = self._body = ArrivingBody(self, length, head.expects, data[end:])
            self._buffer = b""
        factory = self.factory
        client = self._peer
        if self._peer_trusted:
            client = factory.trusted.client(client, [v for n, v in head.headers if n == b"x-forwarded-for"])
        request_id = (head.request_id and sent_request_id(head.request_id)) or factory.new_id(self._wall_ms())
        line = head.line
        probe = self._probe
        if probe is not None:
            probe.begin(self.send)
            self.send = probe.send
        factory.sampling.left -= 1
        request = Request(
            line.method,
            line.path,
            line.query,
            head.headers,
            client,
            body,
            length,
            started,
            request_id,
            head.memo,
            probe,
        )
        responder = FrontResponder(self, request_id, line.method, line.old, head.keep_alive)
        self._responder = responder
        factory.population.in_flight += 1
        try:
            (factory.handler if self._classifier.fast else factory.not_found).handle(request, responder)
        except Exception as error:
            if responder.closed:
                log_crash(error)
            else:
                self._crashed(error)

    def _wait(self, started: float) -> bool:
        """Wait for the rest of a head, until an absolute moment.

        :raises BadMessage: when what is there cannot become a head any more.
        """
        data = self._buffer
        if len(data) >= self._settings.max_head_bytes:
            raise head_too_large()
        if _LONE_LF.search(data, max(0, self._scanned - 1)) is not None:
            raise malformed("a line of the request head ends in LF alone")
        self._scanned = len(data)
        if self._phase != HEAD:
            self._phase = HEAD
            now = self._seconds()
            self._watch.set(now, max(0.0, started + self._settings.head_timeout_s - now))
        return False

    def _hand_over(self, data: bytes) -> None:
        self._buffer = b""
        self._ended = True
        self._watch.stop()
        self._write_watch.stop()
        if self._probe is not None:
            self._end_probe(self._probe)
        self.transport.unregisterProducer()
        self.factory.population.remove(self)
        self.known = None
        self.factory.forget(self)
        settle(self.transport)
        channel = hand_over(self.transport, self.factory.site)
        if channel is None:
            self.transport.abortConnection()
            return
        self._delegate = channel
        self.dataReceived = channel.dataReceived  # type: ignore[method-assign]
        channel.dataReceived(data)

    # -- what a body asks of its connection

    def body_wanted(self, expects: bool) -> None:
        """Begin to time the client's sending, and tell it to begin."""
        if self._ended:
            return
        if expects:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._watch.set(self._seconds(), self._settings.read_timeout_s)

    def body_over(self, rest: bytes) -> None:
        """The body is complete."""
        self._body = None
        self._buffer = rest
        self._watch.clear()
        self.release_reading(HANDLER | BACKLOG)
        if self._responder is None and not self._ended:
            self._begin_next()

    def hold_reading(self, reason: int) -> None:
        """Stop reading from the client."""
        if reason == HANDLER:
            # The end of a connection that is not read from shows only when it is asked for.
            self._watch.set(self._seconds(), LOOK_S)
        if not self._held and not self._ended:
            self.transport.pauseProducing()
        self._held |= reason

    def release_reading(self, reason: int) -> None:
        """Read again, unless another reason remains."""
        held = self._held
        if not held & reason:
            return
        self._held = held & ~reason
        if self._body is not None and self._body.wanted and not self._held & HANDLER:
            self._watch.set(self._seconds(), self._settings.read_timeout_s)
        elif reason & HANDLER:
            self._watch.clear()
        if not self._held and not self._lost:
            self.transport.resumeProducing()

    # -- what a responder asks of its connection

    def may_keep(self) -> bool:
        """Say whether another request may follow the running one."""
        if self._broken or self._ended or self.factory.population.draining:
            return False
        body = self._body
        return body is None or body.discardable

    def reply_over(self, keep: bool) -> None:
        """The reply is complete."""
        self._responder = None
        if self._probe is not None:
            self._end_probe(self._probe)
        self.factory.population.leave()
        if self._ended:
            return
        body = self._body
        if keep and not self._broken:
            if body is not None:
                body.discard()
            elif self._buffer or self._held or self._advancing or self.factory.population.draining:
                self._begin_next()
            else:
                # What ``_begin_next`` comes to, which it does by five more calls.
                self._rest()
        elif body is not None or self._buffer:
            self._begin_linger()
        else:
            self._close()

    # -- what comes after

    def _begin_next(self) -> None:
        self._phase = IDLE
        if not self._advancing:
            self.release_reading(BACKLOG)
            self._safely(self._advance)

    def _refuse(self, bad: BadMessage) -> None:
        """Answer a message that never became a request, and close."""
        request_id = new_request_id(self.factory.world)
        responder = FrontResponder(self, request_id, b"", False, False)
        self._responder = responder
        self.factory.population.in_flight += 1
        self._broken = True
        self._watch.clear()
        responder.reply(bad.status, [JSON], error_body(bad.status, bad.code, bad.message, None, request_id))

    def _expired(self) -> None:
        try:
            if self._phase == HEAD:
                self._refuse(BadMessage(408, "request_timeout", "the request head did not arrive in time"))
            elif self._phase == BODY and self._body is not None:
                if not self._held & HANDLER:
                    self._body.timed_out()
                elif has_left(self.transport):
                    self.abort()
                else:
                    self._watch.set(self._seconds(), LOOK_S)
            else:
                self._close()
        except Exception as error:
            self._crashed(error)
