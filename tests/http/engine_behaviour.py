"""What a caller may rely on, whichever engine carries the call."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall, deferLater
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from tests.http.rawserver import RawServer, Recorder, ask, ok, real_world
from voidllm.http.pool import UpstreamPool
from voidllm.http.pool_settings import PoolSettings


@implementer(IPushProducer)
class Flood:
    """Writes ``left`` bytes as fast as its transport takes them."""

    def __init__(self, transport: Any, left: int) -> None:
        self._transport = transport
        self.left = left
        self.paused = False

    def resumeProducing(self) -> None:
        """Write until told to stop."""
        self.paused = False
        while self.left and not self.paused:
            piece = min(self.left, 64 << 10)
            self.left -= piece
            self._transport.write(b"x" * piece)
        if not self.left:
            self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Stop for now."""
        self.paused = True

    def stopProducing(self) -> None:
        """Stop for good."""
        self.paused = True


@implementer(IBodyProducer)
class Pieces:
    """A body that is written when the test says so.

    :param finish: report the end right after the last piece.
    """

    def __init__(self, pieces: list[bytes], length: Any, finish: bool = True) -> None:
        self.length = length
        self._pieces = pieces
        self._finish = finish
        self.done: defer.Deferred[None] = defer.Deferred()
        self.started: defer.Deferred[None] = defer.Deferred()
        self.consumer: Any = None
        self.paused = self.stopped = self._going = False

    def go(self) -> None:
        """Write, as soon as there is something to write to."""
        self._going = True
        if self.consumer is not None:
            for piece in self._pieces:
                self.consumer.write(piece)
            if self._finish and not self.stopped:
                self.done.callback(None)

    def startProducing(self, consumer: Any) -> defer.Deferred[None]:
        """Remember where to write."""
        self.consumer = consumer
        self.started.callback(None)
        if self._going:
            self.go()
        return self.done

    def pauseProducing(self) -> None:
        """Note it."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Note it."""
        self.paused = False

    def stopProducing(self) -> None:
        """Note it."""
        assert not self.stopped, "stopped twice"
        self.stopped = True


class EngineBehaviour:
    """Mix this into a trial ``TestCase`` and say how an engine is made from a pool."""

    timeout = 10
    settings = PoolSettings(tick_s=0.02)

    def make_engine(self, pool: UpstreamPool) -> Any:
        """Make the engine under test."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Start a server, and an engine on a pool."""
        self.server = RawServer(reactor)
        self.pool = UpstreamPool(real_world(reactor), self.settings)
        self.engine = self.make_engine(self.pool)

    async def tearDown(self) -> None:
        """Close both; nothing may be left."""
        for call in list(self.pool._live):
            call.cancel()
        await self.pool.close()
        self.assertEqual((self.pool.open, self.pool.idle, self.pool.busy, self.pool.waiting), (0, 0, 0, 0))
        await self.server.stop()

    def send(self, body: Any = b"{}", **more: Any) -> Recorder:
        """Make a call."""
        sink = Recorder()
        sink.call = self.engine.call(ask(self.server.port, body, **more), sink)
        return sink

    async def test_round_trip(self) -> None:
        """A request arrives as it was given, and its reply comes back."""
        self.server.answer(ok(b"hello", b"X-B: 2"))
        sink = self.send(b'{"a":1}')
        self.assertEqual(await sink.end(), "finished")
        self.assertEqual((sink.status, sink.body), (200, b"hello"))
        self.assertIn((b"x-b", b"2"), sink.headers)
        head, body = self.server.requests[0]
        self.assertEqual(body, b'{"a":1}')
        self.assertTrue(head.startswith(b"POST /v1/x HTTP/1.1\r\n"))
        lines = head.lower().split(b"\r\n")[1:]
        for line in (
            b"host: 127.0.0.1:%d" % self.server.port,
            b"accept-encoding: identity",
            b"connection: keep-alive",
            b"content-length: 7",
            b"x-a: 1",
        ):
            self.assertEqual(lines.count(line), 1)

    async def test_connection_is_used_again(self) -> None:
        """The second call takes the connection of the first."""
        self.server.answer(ok())
        for _ in range(3):
            self.assertEqual(await self.send().end(), "finished")
        self.assertEqual(len(self.server.peers), 1)
        self.assertEqual((self.pool.connects, self.pool.reuses, self.pool.idle), (1, 2, 1))

    async def test_nothing_is_kept(self) -> None:
        """Once a call is over, neither it nor its body waits for the garbage collector."""
        self.server.answer(ok())
        gc.collect()
        gc.disable()
        try:
            for _ in range(2):
                body, sink = bytes(100), Recorder()
                before, watched = sys.getrefcount(body), weakref.ref(sink)
                self.engine.call(ask(self.server.port, body), sink)
                await sink.end()
                del sink
                await deferLater(reactor, 0, lambda: None)
                self.assertEqual((sys.getrefcount(body), watched()), (before, None))
        finally:
            gc.enable()
        self.assertEqual(self.pool.idle, 1)

    # -- framing

    async def reply(self, *pieces: bytes, close: bool = False, **more: Any) -> Recorder:
        """Send a call, answer it with these bytes, and wait for its end."""

        def script(peer: Any, head: bytes, body: bytes) -> None:
            peer.write(*pieces)
            if close:
                peer.close()

        self.server.script = script
        sink = self.send(**more)
        await sink.end()
        return sink

    async def test_chunked_reply(self) -> None:
        """Chunks come joined, extensions and trailer fields are dropped, the connection is kept."""
        sink = await self.reply(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
        )
        self.assertEqual((sink.ended, sink.body), ("finished", b"abcde"))
        self.assertNotIn(b"x-t", dict(sink.headers))
        self.assertEqual(self.pool.idle, 1)

    async def test_body_until_close(self) -> None:
        """A body without a length ends with the connection."""
        sink = await self.reply(b"HTTP/1.1 200 OK\r\n\r\nsome", b"thing", close=True)
        self.assertEqual((sink.ended, sink.body), ("finished", b"something"))
        self.assertEqual(self.pool.idle, 0)

    async def test_http_1_0(self) -> None:
        """An HTTP/1.0 upstream works, and its connection is used once."""
        sink = await self.reply(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        self.assertEqual((sink.ended, sink.body), ("finished", b"hi"))
        self.assertEqual(self.pool.idle, 0)

    async def test_http_1_0_until_close(self) -> None:
        """An HTTP/1.0 body may end with the connection."""
        sink = await self.reply(b"HTTP/1.0 200 OK\r\n\r\nhi", close=True)
        self.assertEqual((sink.ended, sink.body), ("finished", b"hi"))

    async def test_http_1_0_keep_alive(self) -> None:
        """An HTTP/1.0 connection is kept if the upstream says so."""
        await self.reply(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
        self.assertEqual(self.pool.idle, 1)

    async def test_informational_replies_are_skipped(self) -> None:
        """100 and 103 come before the reply, not instead of it."""
        sink = await self.reply(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ok(b"real")
        )
        self.assertEqual((sink.ended, sink.status, sink.body), ("finished", 200, b"real"))
        self.assertNotIn(b"link", dict(sink.headers))
        self.assertEqual(self.pool.idle, 1)

    async def test_endless_informational_replies(self) -> None:
        """Too many informational replies are no reply."""
        sink = await self.reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 40)
        self.assertEqual(sink.ended, "malformed")

    async def test_replies_without_body(self) -> None:
        """204, 304 and any reply to HEAD have no body, whatever their fields say."""
        for status, method in ((b"204", b"POST"), (b"304", b"GET"), (b"200", b"HEAD")):
            sink = await self.reply(
                b"HTTP/1.1 %b X\r\nContent-Length: 5\r\n\r\n" % status,
                method=method,
                body=b"" if method != b"POST" else b"{}",
            )
            self.assertEqual((sink.ended, sink.body), ("finished", b""))
        self.assertEqual((len(self.server.peers), self.pool.reuses), (1, 2))

    async def test_head_with_chunked_coding(self) -> None:
        """A reply to HEAD may name the coding that GET would have."""
        for _ in range(2):
            sink = await self.reply(
                b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", method=b"HEAD", body=b""
            )
            self.assertEqual(sink.ended, "finished")
        self.assertEqual(len(self.server.peers), 1)

    async def test_connection_close_is_honoured(self) -> None:
        """A connection whose server says close is not used again."""
        await self.reply(ok(b"hi", b"Connection: close"))
        self.assertEqual(self.pool.idle, 0)
        await self.server.peers[0].lost()

    async def test_faulty_replies(self) -> None:
        """What is not HTTP/1, has two framings or an unknown one, is refused and its connection closed."""
        for reply in (
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 201 + b"Content-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * (65 << 10) + b"\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * (200 << 10),
        ):
            sink = await self.reply(reply)
            self.assertEqual((sink.ended, sink.events), ("malformed", ["failed"]), reply[:60])
            assert sink.failure is not None
            self.assertTrue(sink.failure.sent)
        await self.server.all_gone()

    async def test_broken_chunk(self) -> None:
        """A bad chunk ends the reply as malformed, after what was good."""
        sink = await self.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n")
        self.assertEqual((sink.ended, sink.body), ("malformed", b"hi"))

    async def test_endless_trailer(self) -> None:
        """Trailer fields are bounded too."""
        sink = await self.reply(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", b"X: y\r\n" * 40_000
        )
        self.assertEqual(sink.ended, "malformed")

    async def test_cut_replies(self) -> None:
        """A connection lost before the reply's own end is a cut, never a clean end."""
        for reply in (
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        ):
            sink = await self.reply(reply, close=True)
            self.assertEqual(sink.ended, "cut", reply)

    async def test_reset_ends_no_body(self) -> None:
        """A body that ends with the connection is not complete if the connection is reset."""
        sink = self.send()
        peer = await self.server.accept()
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await sink.until(lambda: sink.body)
        peer.abort()
        self.assertEqual(await sink.end(), "cut")

    # -- a connection's second use

    async def test_bytes_after_reply(self) -> None:
        """What follows a complete reply is nobody's: the connection is not used again."""
        for surplus in (b"x", ok(b"poison"), b"HTTP/1.1 200 OK\r\n"):
            sink = await self.reply(ok(b"good") + surplus)
            self.assertEqual((sink.ended, sink.body), ("finished", b"good"))
            self.assertEqual(self.pool.idle, 0)
        sink = await self.reply(ok(b"next"))
        self.assertEqual(sink.body, b"next")

    async def test_bytes_on_idle_connection(self) -> None:
        """An upstream that speaks unasked loses its connection, and the next call gets its own reply."""
        await self.reply(ok(b"one"))
        peer = self.server.peers[0]
        peer.write(ok(b"poison"))
        await peer.lost()
        self.assertEqual(self.pool.idle, 0)
        sink = await self.reply(ok(b"two"))
        self.assertEqual(sink.body, b"two")

    async def test_unnoticed_poison(self) -> None:
        """Bytes, or an end, that the reactor has not read yet keep a connection from being used."""
        for spoil in (
            lambda peer: peer.transport.socket.send(ok(b"poison")),
            lambda peer: peer.transport.socket.shutdown(1),
        ):
            await self.reply(ok(b"one"))
            spoil(self.server.peers[-1])
            sink = await self.reply(ok(b"two"), may_resend=False)
            self.assertEqual((sink.ended, sink.body), ("finished", b"two"))

    async def warm_then_close_on_request(self) -> list[bytes]:
        """Make a connection idle whose server closes it when it is used again."""
        seen: list[bytes] = []

        def script(peer: Any, head: bytes, body: bytes) -> None:
            seen.append(body)
            if peer is self.server.peers[0] and len(seen) > 1:
                peer.close()
            else:
                peer.write(ok(b"fresh"))

        self.server.script = script
        await self.send().end()
        return seen

    async def test_resend_after_stale_connection(self) -> None:
        """A reused connection that closes without a byte costs one resend on a fresh one."""
        seen = await self.warm_then_close_on_request()
        sink = self.send(b"again")
        self.assertEqual((await sink.end(), sink.body), ("finished", b"fresh"))
        self.assertEqual(seen, [b"{}", b"again", b"again"])
        self.assertEqual((self.pool.resends, len(self.server.peers)), (1, 2))

    async def test_no_resend_if_forbidden(self) -> None:
        """A call that may not be sent twice is cut instead."""
        seen = await self.warm_then_close_on_request()
        sink = self.send(b"once", may_resend=False)
        self.assertEqual(await sink.end(), "cut")
        self.assertEqual(seen, [b"{}", b"once"])

    async def test_no_resend_on_fresh_connection(self) -> None:
        """A fresh connection that closes without a byte may have done the work."""
        sink = await self.reply(close=True)
        self.assertEqual((sink.ended, self.pool.resends, len(self.server.peers)), ("cut", 0, 1))

    async def test_no_resend_after_first_byte(self) -> None:
        """Once a byte of the reply has come, the call is not sent again."""
        self.server.answer(ok())
        await self.send().end()
        sink = await self.reply(b"H", close=True)
        self.assertEqual((sink.ended, self.pool.resends), ("cut", 0))

    async def test_early_reply_to_large_body(self) -> None:
        """A reply that comes before the request is out costs the connection, not the reply."""
        sink = self.send(b"x" * (32 << 20))
        peer = await self.server.accept()
        peer.transport.pauseProducing()
        peer.write(ok(b"too large"))
        self.assertEqual((await sink.end(), sink.body), ("finished", b"too large"))
        self.assertEqual(self.pool.idle, 0)
        peer.transport.resumeProducing()
        await peer.lost()

    # -- cancelling, pausing

    async def test_cancel_before_head(self) -> None:
        """A cancelled call closes its connection at once and its sink hears nothing."""
        sink = self.send()
        peer = await self.server.accept()
        await peer.request()
        sink.call.cancel()
        await peer.lost()
        self.assertEqual(sink.events, [])

    async def test_cancel_in_body(self) -> None:
        """The same in the middle of a body."""
        sink = self.send()
        peer = await self.server.accept()
        await peer.request()
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await sink.until(lambda: sink.body)
        sink.call.cancel()
        sink.call.cancel()
        await peer.lost()
        self.assertEqual(sink.events, ["head", "chunk"])

    async def test_cancel_within_the_sink(self) -> None:
        """A sink may cancel from any of its methods, and hears nothing after."""
        for hook, events in (("on_head", ["head"]), ("on_chunk", ["head", "chunk"])):
            sink = self.send()
            setattr(sink, hook, lambda sink=sink: sink.call.cancel())
            peer = await self.server.accept()
            await peer.request()
            peer.write(ok(b"abc"))
            await peer.lost()
            self.assertEqual(sink.events, events)

    async def test_cancel_after_the_end(self) -> None:
        """Cancelling a call that is over does nothing to its connection."""
        self.server.answer(ok())
        sink = self.send()
        await sink.end()
        sink.call.cancel()
        self.assertEqual(self.pool.idle, 1)

    async def test_cancel_at_once(self) -> None:
        """A call cancelled as soon as it was made leaves nothing behind."""
        sink = self.send()
        sink.call.cancel()
        self.assertEqual(sink.events, [])
        self.assertEqual(self.pool.busy, 0)

    async def test_pause_holds_the_upstream_back(self) -> None:
        """While a call is paused its upstream cannot send for ever, and no silence is held against it."""
        sink = self.send(idle_timeout_s=0.05)
        sink.on_head = sink.call.pause
        peer = await self.server.accept()
        await peer.request()
        produced = Flood(peer.transport, 32 << 20)
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % produced.left)
        peer.transport.registerProducer(produced, True)
        produced.resumeProducing()
        await sink.until(lambda: sink.events)
        while not produced.paused:
            await deferLater(reactor, 0, lambda: None)
        # Whatever measures the silence was set before this is, for the same time.
        await deferLater(reactor, 0.05, lambda: None)
        self.assertLess(len(sink.body), 1 << 20)
        sink.call.resume()
        self.assertEqual(await sink.end(), "finished")
        self.assertEqual(len(sink.body), 32 << 20)

    # -- timeouts

    async def test_head_timeout(self) -> None:
        """No head in time is a head timeout, and closes the connection."""
        sink = self.send(head_timeout_s=0.05)
        peer = await self.server.accept()
        self.assertEqual(await sink.end(), "head_timeout")
        await peer.lost()

    async def test_stall(self) -> None:
        """Silence within a body is a stall."""
        sink = self.send(idle_timeout_s=0.05)
        peer = await self.server.accept()
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.assertEqual((await sink.end(), sink.body), ("stall", b"abc"))
        await peer.lost()

    async def test_total_timeout(self) -> None:
        """A total timeout ends a call that makes progress."""
        sink = self.send(total_timeout_s=0.15, idle_timeout_s=10.0)
        peer = await self.server.accept()
        peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
        ticking = LoopingCall(peer.write, b"x")
        running = ticking.start(0.02)
        self.assertEqual(await sink.end(), "stall")
        ticking.stop()
        await running

    async def test_refused(self) -> None:
        """A port where nobody listens is refused, and nothing was sent."""
        port = self.server.port
        await self.server.stop()
        sink = Recorder()
        self.engine.call(ask(port), sink)
        self.assertEqual(sink.events, [])
        self.assertEqual(await sink.end(), "refused")
        assert sink.failure is not None
        self.assertFalse(sink.failure.sent)
        self.server = RawServer(reactor)

    async def test_closed_pool(self) -> None:
        """A closed engine refuses calls, and lets a running one finish first."""
        sink = self.send()
        peer = await self.server.accept()
        await peer.request()
        closing = self.engine.close()
        late = self.send()
        self.assertEqual(await late.end(), "closed")
        self.assertFalse(closing.called)
        peer.write(ok())
        self.assertEqual(await sink.end(), "finished")
        await closing

    # -- bodies that are produced

    async def test_upload_of_known_length(self) -> None:
        """A produced body goes out with its length."""
        self.server.answer(ok())
        body = Pieces([b"abc", b"def"], 6)
        sink = self.send(body)
        body.go()
        self.assertEqual(await sink.end(), "finished")
        head, received = self.server.requests[0]
        self.assertIn(b"\r\ncontent-length: 6", head.lower())
        self.assertEqual(received, b"abcdef")
        self.assertEqual(self.pool.idle, 1)

    async def test_upload_of_unknown_length(self) -> None:
        """A body of unknown length goes out chunked."""
        self.server.answer(ok())
        body = Pieces([b"abc", b"", b"def"], UNKNOWN_LENGTH)
        sink = self.send(body)
        body.go()
        self.assertEqual(await sink.end(), "finished")
        head, received = self.server.requests[0]
        self.assertIn(b"\r\ntransfer-encoding: chunked", head.lower())
        self.assertEqual(received, b"abcdef")
        self.assertEqual(self.pool.idle, 1)

    async def test_upload_says_late_that_it_is_done(self) -> None:
        """A producer may report its end after the reply; the connection is used again all the same."""
        self.server.answer(ok())
        body = Pieces([b"abc"], 3, finish=False)
        sink = self.send(body)
        body.go()
        self.assertEqual(await sink.end(), "finished")
        body.done.callback(None)
        self.assertEqual((await self.send().end(), self.pool.reuses), ("finished", 1))
        self.assertFalse(body.stopped)

    async def test_upload_overtaken_by_reply(self) -> None:
        """A reply that does not wait for the body stops the producer and costs the connection."""
        body = Pieces([b"abc"], 10, finish=False)
        sink = self.send(body)
        peer = await self.server.accept()
        body.go()
        await peer.until(lambda: peer.received.endswith(b"abc"))
        peer.write(ok(b"no"))
        self.assertEqual((await sink.end(), sink.body), ("finished", b"no"))
        self.assertTrue(body.stopped)
        self.assertEqual(self.pool.idle, 0)

    async def test_upload_that_fails(self) -> None:
        """A producer's failure closes the connection; its reason is not passed on."""
        body = Pieces([b"abc"], 10, finish=False)
        sink = self.send(body)
        peer = await self.server.accept()
        body.go()
        body.done.errback(RuntimeError("secret"))
        self.assertEqual(await sink.end(), "cut")
        self.assertNotIn("secret", repr(sink.failure))
        await peer.lost()

    async def test_upload_of_wrong_length(self) -> None:
        """A producer that writes more or less than it promised never makes a valid request."""
        for pieces in ([b"abcdef"], [b"a"]):
            body = Pieces(pieces, 3)
            sink = self.send(body)
            peer = await self.server.accept()
            body.go()
            self.assertEqual(await sink.end(), "cut")
            await peer.lost()
            self.assertNotIn(b"abcdef", peer.received)

    async def test_upload_cancelled(self) -> None:
        """Cancelling stops the producer and closes the connection."""
        body = Pieces([b"abc"], UNKNOWN_LENGTH, finish=False)
        sink = self.send(body)
        peer = await self.server.accept()
        body.go()
        await peer.until(lambda: b"abc" in peer.received)
        sink.call.cancel()
        self.assertTrue(body.stopped)
        await peer.lost()

    async def test_upload_is_held_back(self) -> None:
        """A producer is paused while its upstream does not read."""
        body = Pieces([], 64 << 20, finish=False)
        sink = self.send(body)
        peer = await self.server.accept()
        peer.transport.pauseProducing()
        await body.started
        for _ in range(64):
            body.consumer.write(b"x" * (1 << 20))
            if body.paused:
                break
        self.assertTrue(body.paused)
        sink.call.cancel()

    async def test_upload_lost(self) -> None:
        """An upstream that goes away in the middle of a body stops the producer."""
        body = Pieces([b"abc"], 10, finish=False)
        sink = self.send(body)
        peer = await self.server.accept()
        body.go()
        await peer.until(lambda: b"abc" in peer.received)
        peer.abort()
        self.assertEqual(await sink.end(), "cut")
        self.assertTrue(body.stopped)

    # -- what may not be sent

    async def test_smuggling_is_refused(self) -> None:
        """Line breaks and NULs never reach the wire, nor does the error name them."""
        for more in (
            {"headers": ((b"x-a", b"1\r\nx-b: 2"),)},
            {"headers": ((b"x-a", b"1\nx-b: 2"),)},
            {"headers": ((b"x-a", b"1\rx"),)},
            {"headers": ((b"x-a", b"1\0"),)},
            {"headers": ((b"x-a: 1\r\nx-b", b"2"),)},
            {"headers": ((b"x a", b"2"),)},
            {"headers": ((b"", b"2"),)},
            {"target": b"/x HTTP/1.1\r\n\r\n"},
            {"target": b"/x y"},
            {"method": b"GET /x"},
        ):
            with self.assertRaises(ValueError) as caught:
                self.engine.call(ask(self.server.port, **more), Recorder())
            self.assertNotIn("x-b", str(caught.exception))
        self.assertEqual(self.pool.open + self.pool.waiting, 0)

    async def test_framing_fields_are_the_engines(self) -> None:
        """A caller's framing and connection fields are dropped."""
        self.server.answer(ok())
        names = (
            b"Host",
            b"Content-Length",
            b"Transfer-Encoding",
            b"Connection",
            b"Accept-Encoding",
            b"Expect",
        )
        await self.send(headers=tuple((name, b"9") for name in names)).end()
        lines = self.server.requests[0][0].lower().split(b"\r\n")
        self.assertEqual(len(lines), 5)
        self.assertFalse([line for line in lines if line.endswith(b": 9")])
