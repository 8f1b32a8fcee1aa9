"""Durations as people write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.config.durations import Duration, parse_duration
from voidllm.config.errors import Unusable


class ParseDurationTests(SynchronousTestCase):
    """What is a duration and what is not."""

    def test_units(self) -> None:
        """Every unit counts for what it is, and parts add up."""
        for text, ms in (
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1000),
            ("90d", 90 * 86_400_000),
            ("2w", 14 * 86_400_000),
            ("+5m", 300_000),
            ("0", 0),
            ("0s", 0),
            ("1d12h", 129_600_000),
        ):
            self.assertEqual(parse_duration(text), ms, text)

    def test_small_is_not_nothing(self) -> None:
        """Less than a millisecond is rounded up, because zero means something else."""
        for text in ("1ns", "1us", "1µs", "1μs", "999us"):
            self.assertEqual(parse_duration(text), 1, text)

    def test_refused(self) -> None:
        """Numbers without units, signs within, unknown units and spaces are no durations."""
        for text in ("", "30", "-5s", "5 s", "s", "1y", "5m30", "1e3s", "++1s", "+", "٣s", "1h-5m", "."):
            self.assertRaises(Unusable, parse_duration, text)

    def test_bounded(self) -> None:
        """More than a century, or a number without end, is refused."""
        for text in ("40000d", "9" * 400 + "s", "101w" * 2000):
            self.assertRaises(Unusable, parse_duration, text)

    def test_message_hides_the_value(self) -> None:
        """What was written is not repeated."""
        error = self.assertRaises(Unusable, parse_duration, "sk-secret")
        self.assertNotIn("sk-secret", str(error))

    @given(st.integers(0, 100 * 366 * 86_400_000))
    def test_shown_as_it_is_read(self, ms: int) -> None:
        """What a duration is shown as is read as the same duration."""
        self.assertEqual(parse_duration(str(Duration(ms))), ms)

    @given(st.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        """Any text is a duration or refused, and nothing else happens."""
        try:
            self.assertGreaterEqual(parse_duration(text), 0)
        except Unusable:
            pass

    def test_seconds(self) -> None:
        """A duration is milliseconds, and gives seconds."""
        self.assertEqual(parse_duration("1500ms").seconds, 1.5)
