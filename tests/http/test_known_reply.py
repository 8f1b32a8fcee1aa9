"""Replies whose head is known are taken whole, and are what they would be if they were parsed."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.http.rawserver import Recorder, ask
from tests.http.test_reply_splits import _Transport
from voidllm.core.world import World
from voidllm.http.pool import UpstreamPool
from voidllm.http.upstream import ReplyHead
from voidllm.http.upstream_connection import _MOST_STRANGE

REPLY = b"HTTP/1.1 200 OK\r\nDate: today\r\ncontent-length: 4\r\nKeep-Alive: timeout=9\r\n\r\nbody"
LONGER = REPLY.replace(b": 4\r", b": 12\r") + b"bodybody"


class Whole(Recorder):
    """A sink that can take a reply in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[ReplyHead] = []

    def got_reply(self, head: ReplyHead, body: bytes) -> None:
        """Remember it as if it had come in three."""
        self.heads.append(head)
        self.got_head(head.status, head.headers)
        if body:
            self.got_chunk(body)
        self.finished()


class Line:
    """One upstream connection, fed by hand."""

    def __init__(self) -> None:
        self.clock = MemoryReactorClock()
        self.pool = UpstreamPool(World(reactor=self.clock, in_thread=None))
        self.transport = _Transport()

    def call(self, reply: bytes, sink: Recorder | None = None, **more: Any) -> Recorder:
        """Make a call and give it its reply in one segment."""
        sink = Whole() if sink is None else sink
        self.pool.call(ask(80, **more), sink)
        if self.transport.protocol is None:
            _, _, factory, _, _ = self.clock.tcpClients[0]
            self.transport.protocol = factory.buildProtocol(None)
            self.transport.protocol.makeConnection(self.transport)
        self.transport.protocol.dataReceived(reply)
        return sink

    def outcome(self, reply: bytes) -> tuple[Any, ...]:
        """Give all that can be seen of a call's end, and whether the connection is kept."""
        sink = self.call(reply)
        kept = self.pool.idle, self.pool.busy, len(self.pool._live)
        expires = [c.expires for group in self.pool._groups.values() for c in group.idle]
        if not sink.ended:
            self.transport.protocol.connectionLost(Failure(ConnectionDone()))
        return sink.status, sink.headers, sink.body, sink.ended, kept, expires


@st.composite
def neighbours(draw: Any) -> bytes:
    """Draw a reply that differs from the known one in a few bytes, often those of its length."""
    number = draw(st.sampled_from([b"4", b"3", b"5", b"0", b"04", b"+4", b"4 ", b"4,4", b"", b"9" * 16]))
    message = bytearray(REPLY.replace(b": 4\r", b": %b\r" % number))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(message) - 1))
        piece = draw(st.sampled_from([b"", b"\r\n", b"\n", b"x", b" ", b":", b"4"]))
        message[at : at + draw(st.integers(0, 1))] = piece
    return bytes(message)


class KnownReplyTests(SynchronousTestCase):
    """The second reply of a connection and those after it."""

    def test_in_one_piece(self) -> None:
        """From the second reply on, one call of the sink brings all, with the same head each time."""
        line = Line()
        sinks = [line.call(reply) for reply in (REPLY, REPLY, LONGER, REPLY)]
        self.assertEqual([sink.body for sink in sinks], [b"body", b"body", b"bodybodybody", b"body"])
        self.assertEqual([len(sink.heads) for sink in sinks], [0, 1, 1, 1])
        self.assertEqual(len({id(sink.heads[0]) for sink in sinks[1:]}), 1)
        self.assertEqual(dict(sinks[2].headers)[b"content-length"], b"12")
        self.assertEqual((line.pool.connects, line.pool.idle, line.pool.busy), (1, 1, 0))

    def test_in_pieces(self) -> None:
        """A known head whose body comes later is parsed, and so is the reply after it."""
        line = Line()
        line.call(REPLY)
        sink = line.call(REPLY[:-2])
        self.assertEqual((sink.ended, sink.body), ("", b"bo"))
        line.transport.protocol.dataReceived(REPLY[-2:])
        self.assertEqual((sink.ended, sink.body), ("finished", b"body"))
        self.assertEqual(line.call(REPLY).body, b"body")

    def test_plain_sink(self) -> None:
        """A sink that cannot take a reply in one piece gets it in three."""
        line = Line()
        line.call(REPLY)
        self.assertEqual(line.call(REPLY, Recorder()).events, ["head", "chunk", "finished"])

    def test_head_request(self) -> None:
        """What answers HEAD has no body, whatever was known of the head before."""
        line = Line()
        line.call(REPLY)
        sink = line.call(REPLY[:-4], method=b"HEAD", body=b"")
        self.assertEqual((sink.ended, sink.body), ("finished", b""))

    def test_nothing_asked(self) -> None:
        """A known reply that nobody asked for closes the connection."""
        line = Line()
        line.call(REPLY)
        line.transport.protocol.dataReceived(REPLY)
        self.assertTrue(line.transport.closed)

    def test_always_new(self) -> None:
        """After some heads that were each new, no further one is kept."""
        line = Line()
        for number in range(_MOST_STRANGE):
            line.call(REPLY.replace(b"today", b"%d" % number))
        last = REPLY.replace(b"today", b"later")
        line.call(last)
        self.assertEqual(line.call(last).heads, [])

    @settings(max_examples=300, deadline=None)
    @given(neighbours())
    def test_like_a_fresh_connection(self, reply: bytes) -> None:
        """Whatever comes after a known reply ends its call as it would on a connection that knows none."""
        warm = Line()
        warm.call(REPLY)
        self.assertEqual(warm.outcome(reply), Line().outcome(reply))
