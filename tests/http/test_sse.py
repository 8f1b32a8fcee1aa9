"""Tests for splitting event streams."""

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.http.sse import EventSplitter, EventTooLong, event_data

line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.sampled_from([b"data: {}", b"data:x", b"data", b": c", b"event: e", b"id: 1", b"retry: 3"])


@st.composite
def streams(draw):
    """Draw whole events, each with one style of line end, and where to cut the bytes."""
    events = []
    for _ in range(draw(st.integers(1, 6))):
        end = draw(line_ends)
        block = draw(st.lists(lines, min_size=1, max_size=4))
        events.append(b"".join(line + end for line in block) + end)
    whole = b"".join(events)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return events, whole, cuts


class EventSplitterTests(SynchronousTestCase):
    """The splitter cuts at blank lines only, whatever ends the lines and segments."""

    @settings(max_examples=300, deadline=None)
    @given(streams())
    def test_any_segmentation_gives_the_same_data(self, drawn) -> None:
        """However the bytes are cut into segments, the same events come out."""
        events, whole, cuts = drawn
        splitter = EventSplitter()
        got = []
        start = 0
        for cut in [*cuts, len(whole)]:
            got += splitter.feed(whole[start:cut])
            start = cut
        # A CR LF event's last LF is swallowed when a segment ends before it.
        self.assertEqual([event_data(e) for e in got], [event_data(e) for e in events])
        self.assertIn(splitter.rest(), (b"", b"\n"))

    @settings(max_examples=300, deadline=None)
    @given(streams(), st.sampled_from([b"", b"data: {}\n\n", b"data: 1\n\nd"]))
    def test_one_event(self, drawn, more) -> None:
        """What is said to be one event is what the splitter makes of it, in any state."""
        _, whole, cuts = drawn
        splitter = EventSplitter()
        start = 0
        for cut in [*cuts, len(whole)]:
            piece = whole[start:cut] + more
            start = cut
            one = splitter.is_one(piece)
            got = splitter.feed(piece)
            if one:
                self.assertEqual((got, event_data(piece)), ([piece], piece[6:-2]))
        rest = splitter.rest()
        self.assertEqual(splitter.is_one(b"data: x\n\n"), not splitter._after_cr, rest)

    def test_bytes_are_kept(self) -> None:
        """An event comes out byte for byte, comments and field order included."""
        event = b": hi\nevent: x\ndata: 1\ndata: 2\n\n"
        self.assertEqual(EventSplitter().feed(event + b"data: 3"), [event])

    def test_carriage_return_then_line_feed_across_segments(self) -> None:
        """A line feed that completes the blank line of the event before starts nothing."""
        splitter = EventSplitter()
        self.assertEqual(splitter.feed(b"data: a\r\n\r"), [b"data: a\r\n\r"])
        self.assertEqual(splitter.feed(b"\ndata: b\n\n"), [b"data: b\n\n"])

    def test_a_drip_costs_no_copies(self) -> None:
        """What is held of a long event is not copied for every byte that comes."""
        splitter = EventSplitter()
        splitter.feed(b"data: " + b"x" * (1 << 20))
        splitter.feed(b"x")
        tracemalloc.start()
        try:
            for _ in range(100):
                self.assertEqual(splitter.feed(b"x"), [])
            self.assertLess(tracemalloc.get_traced_memory()[1], 1 << 16)
        finally:
            tracemalloc.stop()
        (event,) = splitter.feed(b"\n\n")
        self.assertEqual(len(event), 6 + (1 << 20) + 101 + 2)

    def test_bound(self) -> None:
        """An event that outgrows the bound is an error instead of a growing buffer."""
        splitter = EventSplitter(max_event=10)
        self.assertRaises(EventTooLong, splitter.feed, b"data: 12345678")

    def test_rest(self) -> None:
        """What is unfinished at the end of the stream can be asked for."""
        splitter = EventSplitter()
        splitter.feed(b"data: 1\n\ndata: [DONE]")
        self.assertEqual(splitter.rest(), b"data: [DONE]")


class EventDataTests(SynchronousTestCase):
    """The data of an event follows the event-stream grammar."""

    def test_space_is_optional(self) -> None:
        """One space after the colon, and only one, is not part of the data."""
        self.assertEqual(event_data(b"data:[DONE]\n\n"), b"[DONE]")
        self.assertEqual(event_data(b"data:  x\n\n"), b" x")

    def test_lines_are_joined(self) -> None:
        """Several data lines are one text; a bare field name is an empty line."""
        self.assertEqual(event_data(b"data: a\ndata\ndata: b\r\n\r\n"), b"a\n\nb")

    def test_comment_has_no_data(self) -> None:
        """An event of comments alone has no data."""
        self.assertIsNone(event_data(b": keep-alive\n\n"))
        self.assertIsNone(event_data(b"database: x\n\n"))

    def test_byte_order_mark(self) -> None:
        """A byte order mark before the first field is ignored."""
        self.assertEqual(event_data(b"\xef\xbb\xbfdata: a\n\n"), b"a")
