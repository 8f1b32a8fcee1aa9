"""Messages on a stream of bytes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.link.framing import Frames, FrameTooLong, frame


class TestFrames(SynchronousTestCase):
    """Cutting bytes into messages."""

    @given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 400), max_size=20))
    def test_any_cut(self, messages: list[bytes], cuts: list[int]) -> None:
        """However the bytes are cut on their way, the messages come out as they went in."""
        data = b"".join(map(frame, messages))
        at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        frames = Frames(40)
        got = [m for begin, end in pairwise(at) for m in frames.feed(data[begin:end])]
        self.assertEqual(got, messages)

    def test_too_long(self) -> None:
        """A length beyond the limit is refused before anything is collected for it."""
        frames = Frames(10)
        with self.assertRaises(FrameTooLong):
            list(frames.feed(frame(b"x" * 11)[:5]))
