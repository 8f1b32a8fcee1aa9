"""However a reply is cut into segments, it is the same reply."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.http.rawserver import Recorder, ask
from voidllm.core.world import World
from voidllm.http.pool import UpstreamPool

_REPLIES = (
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello", "finished", b"hello", True),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;x=y\r\nhello\r\nb\r\n to you all\r\n0\r\nT: u\r\n\r\n",
        "finished",
        b"hello to you all",
        True,
    ),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"6\r\nhe\r\nlo\r\n2\r\n\r\n\r\n0a\r\n0123456789\r\nA\r\n9876543210\r\na\r\nabcdefghij\r\n0\r\n\r\n",
        "finished",
        b"he\r\nlo\r\n01234567899876543210abcdefghij",
        True,
    ),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\nX: y\r\n\r\n", "finished", b"", True),
    (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "finished", b"until the end", False),
    (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", "finished", b"hi", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n", "finished", b"hi", False),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "cut", b"hi", False),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nq\r\n", "malformed", b"hi", False),
    (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "malformed",
        b"",
        False,
    ),
)


class _Transport(StringTransport):
    """TCP made of a string."""

    protocol: Any = None
    closed = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to do."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to do."""

    def loseConnection(self) -> None:
        """Note it."""
        self.closed = True

    def abortConnection(self) -> None:
        """Note it."""
        self.closed = True


class SplitTests(SynchronousTestCase):
    """One connection, fed by hand."""

    def feed(self, pieces: list[bytes]) -> tuple[Recorder, bool]:
        """Give a call its reply in pieces; tells whether the connection is kept."""
        clock = MemoryReactorClock()
        pool = UpstreamPool(World(reactor=clock, in_thread=None))
        sink = Recorder()
        pool.call(ask(80), sink)
        _, _, factory, _, _ = clock.tcpClients[0]
        transport = _Transport()
        transport.protocol = factory.buildProtocol(None)
        transport.protocol.makeConnection(transport)
        for piece in pieces:
            if transport.closed:
                break
            transport.protocol.dataReceived(piece)
        kept = pool.idle == 1
        if not sink.ended:
            transport.protocol.connectionLost(Failure(ConnectionDone()))
        return sink, kept

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(_REPLIES), st.lists(st.integers(0, 130), max_size=12))
    def test_any_split(self, case: tuple[bytes, str, bytes, bool], cuts: list[int]) -> None:
        """The result does not depend on where the segments end."""
        reply, ended, body, kept = case
        edges = [0, *sorted(min(cut, len(reply)) for cut in cuts), len(reply)]
        pieces = [reply[a:b] for a, b in pairwise(edges) if b > a]
        sink, really_kept = self.feed(pieces)
        self.assertEqual((sink.ended, sink.body), (ended, body))
        if kept or ended != "finished":
            self.assertEqual(really_kept, kept)

    def test_byte_by_byte(self) -> None:
        """The most segments that there can be."""
        for reply, ended, body, _ in _REPLIES:
            sink, _ = self.feed([bytes([byte]) for byte in reply])
            self.assertEqual((sink.ended, sink.body), (ended, body))

    def test_chunk_by_chunk(self) -> None:
        """Segments that are whole chunks are the same as any others, broken ones included."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        whole = [b"1\r\nx\r\n", b"5\r\n\r\n\r\n1\r\n", b"12\r\n" + b"y" * 18 + b"\r\n"]
        body = b"x\r\n\r\n1" + b"y" * 18
        for last, ended in (
            ([b"0\r\n\r\n"], "finished"),
            ([b"3\r\n", b"zzz\r\n", b"0\r\n\r\n"], "finished"),
            ([b"+3\r\nzzz\r\n"], "malformed"),
            ([b"0x3\r\nzzz\r\n"], "malformed"),
            ([b"-5\r\nzzz\r\n"], "malformed"),
            ([b"3\r\nzzzzz\r\n"], "malformed"),
            ([b"3\rzzzz\r\n"], "malformed"),
            ([b"3", b"\r\nzzz\r\n"], "cut"),
            ([b"3\r\nzz\r\n"], "malformed"),
        ):
            sink, _ = self.feed([head, *whole, *last])
            self.assertEqual((sink.ended, sink.body[: len(body)]), (ended, body), last)
            self.assertEqual(self.feed([head + b"".join(whole + last)])[0].ended, ended)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """Whatever an upstream sends, the call ends exactly once and nothing is raised."""
        sink, kept = self.feed(pieces)
        self.assertIn(sink.ended, ("malformed", "cut", "finished"))
        self.assertLessEqual(kept, sink.ended == "finished")

    @settings(max_examples=100, deadline=None)
    @given(st.sampled_from(_REPLIES), st.integers(0, 120), st.integers(0, 255))
    def test_any_damage(self, case: tuple[bytes, str, bytes, bool], at: int, byte: int) -> None:
        """The same for a reply with one byte changed."""
        reply = bytearray(case[0])
        reply[at % len(reply)] = byte
        sink, _ = self.feed([bytes(reply)])
        self.assertIn(sink.ended, ("malformed", "cut", "finished", "proxy"))
