"""Small parts of the front on their own."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.errors import Refusal
from voidllm.http.body import WholeBody
from voidllm.http.chunked import ChunkedDecoder
from voidllm.http.framing import BadMessage
from voidllm.http.reply_head import DateLine, status_line
from voidllm.http.watch import Watch

TOKENS = [b"0", b"5", b"\r", b"\n", b"\r\n", b";", b"a", b"X: y", b"\0"]


class Chunked(SynchronousTestCase):
    """The chunked decoder under every segmentation."""

    @settings(max_examples=150)
    @given(
        st.lists(st.binary(min_size=1, max_size=40), max_size=6),
        st.sampled_from([b"", b";a=b", b' ; a="x y"']),
        st.sampled_from([b"", b"X-T: 1\r\n", b"A:\r\nB: c\r\n"]),
        st.binary(max_size=20),
        st.lists(st.integers(1, 9), min_size=1, max_size=4),
    )
    def test_round_trip(
        self, pieces: list[bytes], extension: bytes, trailers: bytes, rest: bytes, sizes: list[int]
    ) -> None:
        """Body and rest come out whole, however the input is cut."""
        wire = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
        wire += b"0" + extension + b"\r\n" + trailers + b"\r\n" + rest
        decoder = ChunkedDecoder()
        body, position, index = b"", 0, 0
        while not decoder.done:
            size = sizes[index % len(sizes)]
            body += decoder.feed(wire[position : position + size])
            position += size
            index += 1
        assert body == b"".join(pieces)
        assert decoder.rest + wire[position:] == rest

    @settings(max_examples=150)
    @given(
        st.lists(
            st.sampled_from([b"0", b"5", b"\r", b"\n", b"\r\n", b";", b"a", b"X: y", b"\0"]), max_size=20
        )
    )
    def test_garbage(self, tokens: list[bytes]) -> None:
        """Whole and byte by byte, garbage gives the same result or the same refusal."""

        def outcome(segments: list[bytes]) -> Any:
            decoder = ChunkedDecoder()
            body = b""
            rest = b""
            try:
                for segment in segments:
                    if decoder.done:
                        rest += segment
                    else:
                        body += decoder.feed(segment)
            except BadMessage as bad:
                return bad.status
            return (body, decoder.done, decoder.rest + rest)

        data = b"".join(tokens)
        assert outcome([data]) == outcome([data[at : at + 1] for at in range(len(data))])


class Watching(SynchronousTestCase):
    """The moving deadline."""

    def test_moves(self) -> None:
        """It fires at its last deadline, sooner or later than first set, and once."""
        clock = Clock()
        fired: list[float] = []
        watch = Watch(clock, 10, lambda: fired.append(clock.seconds()))
        watch.set(0, 60)
        clock.pump([7.0] * 5)
        watch.set(clock.seconds(), 60)
        clock.pump([7.0] * 8)
        assert fired == []
        watch.set(clock.seconds(), 1.5)
        clock.pump([0.5] * 3)
        assert fired == [92.5]
        clock.pump([50.0] * 4)
        assert fired == [92.5]
        assert clock.getDelayedCalls() == []

    def test_stop(self) -> None:
        """After stop no timer is left and none is made."""
        clock = Clock()
        watch = Watch(clock, 10, lambda: None)
        watch.set(0, 60)
        watch.stop()
        watch.set(0, 60)
        assert clock.getDelayedCalls() == []


class ReplyHead(SynchronousTestCase):
    """Lines of reply heads."""

    def test_date(self) -> None:
        """The date changes with the second and only then."""
        now = [1_700_000_000_999]
        date = DateLine(lambda: now[0])
        first = date()
        assert first == b"Date: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
        now[0] += 1
        assert date() == b"Date: Tue, 14 Nov 2023 22:13:21 GMT\r\n"

    def test_status_lines(self) -> None:
        """Known and unknown statuses have a line in either version."""
        assert status_line(200, False) == b"HTTP/1.1 200 OK\r\n"
        assert status_line(404, True) == b"HTTP/1.0 404 Not Found\r\n"
        assert status_line(529, False) == b"HTTP/1.1 529 Error\r\n"


class Whole(SynchronousTestCase):
    """Bodies that have arrived."""

    def test_limits(self) -> None:
        """Both ways of taking it hold the limit."""
        failures: list[Any] = []
        WholeBody(b"12345").read(4, failures.append, failures.append)
        WholeBody(b"12345").stream(4, failures.append, lambda: None, failures.append)
        assert [type(failure) for failure in failures] == [Refusal, Refusal]
        assert failures[0].status == 413
        got: list[bytes] = []
        WholeBody(b"12345").stream(5, got.append, lambda: got.append(b"end"), failures.append)
        assert got == [b"12345", b"end"]
