"""The counting windows by themselves."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from voidllm.limits.windows import DAY_MS, CalendarWindow, SlidingMinute, month_of, month_start_ms


class SlidingMinuteTests(SynchronousTestCase):
    """Sixty seconds in buckets of one."""

    def test_forgets_after_a_minute(self) -> None:
        """A unit is remembered while any moment of its second is within the last 60 s."""
        window = SlidingMinute(100)
        window.add(1, 10)
        window.advance(160)
        self.assertEqual((window.requests, window.tokens), (1, 10))
        window.advance(161)
        self.assertEqual((window.requests, window.tokens), (0, 0))

    def test_long_pause(self) -> None:
        """A pause of hours empties the window at once."""
        window = SlidingMinute(0)
        window.add(3, 3)
        window.advance(100_000)
        window.add(1, 1)
        self.assertEqual(window.requests, 1)

    def test_earlier_tick(self) -> None:
        """A tick that lies in the past changes nothing."""
        window = SlidingMinute(100)
        window.add(1, 1)
        window.advance(10)
        self.assertEqual((window.tick, window.requests), (100, 1))

    def test_take_back(self) -> None:
        """Tokens are given back to the second they were counted in, if it is remembered."""
        window = SlidingMinute(100)
        window.add(1, 10)
        window.advance(110)
        window.add(1, 10)
        window.take_back(100, 6)
        self.assertEqual(window.tokens, 14)
        window.advance(161)
        self.assertEqual(window.tokens, 10)
        window.take_back(100, 4)
        self.assertEqual(window.tokens, 10)

    def test_waits(self) -> None:
        """It says in how many seconds there is room, if nothing else comes."""
        window = SlidingMinute(100)
        window.add(1, 10)
        window.advance(105)
        window.add(2, 5)
        window.advance(110)
        self.assertEqual(window.ticks_until_requests(3), 0)
        self.assertEqual(window.ticks_until_requests(2), 51)
        self.assertEqual(window.ticks_until_tokens(4), 56)
        self.assertEqual(window.ticks_until_empty(), 56)


class CalendarWindowTests(SynchronousTestCase):
    """Periods, and clocks that step."""

    def setUp(self) -> None:
        """Use something on day 10."""
        self.window = CalendarWindow()
        self.window.enter(10)
        self.window.add(3, 30)

    def _counts(self) -> tuple[int, int]:
        return self.window.requests, self.window.tokens

    def test_next_period(self) -> None:
        """A new period begins at nothing."""
        self.window.enter(11)
        self.assertEqual(self._counts(), (0, 0))

    def test_back_over_midnight(self) -> None:
        """A clock that steps back over midnight and forth again finds both days as they were."""
        self.window.enter(11)
        self.window.add(1, 5)
        self.window.enter(10)
        self.assertEqual(self._counts(), (3, 30))
        self.window.add(1, 0)
        self.window.enter(11)
        self.assertEqual(self._counts(), (1, 5))

    def test_far_back(self) -> None:
        """A step to before all that is known does not grant anything anew."""
        self.window.enter(2)
        self.assertEqual(self._counts(), (3, 30))

    def test_wrong_future(self) -> None:
        """After an hour in a wrong future, days pass as ever."""
        self.window.enter(40)
        self.window.add(9, 90)
        self.window.enter(10)
        self.assertEqual(self._counts(), (3, 30))
        self.window.enter(11)
        self.assertEqual(self._counts(), (0, 0))
        self.window.add(2, 2)
        self.window.enter(12)
        self.assertEqual(self._counts(), (0, 0))

    def test_late_truth(self) -> None:
        """A late adjustment goes to its own period, whether or not that is the current one."""
        self.window.enter(11)
        self.window.add(1, 5)
        self.window.adjust(10, -20)
        self.assertEqual(self._counts(), (1, 5))
        self.window.enter(10)
        self.assertEqual(self._counts(), (3, 10))

    def test_forgotten_period(self) -> None:
        """An adjustment of a period that is forgotten changes nothing."""
        self.window.enter(11)
        self.window.enter(12)
        self.window.adjust(10, 100)
        self.assertEqual(self._counts(), (0, 0))
        self.window.enter(11)
        self.assertEqual(self._counts(), (0, 0))


class MonthTests(SynchronousTestCase):
    """Numbers of months."""

    def test_months(self) -> None:
        """The number of a month and its first millisecond agree with the calendar."""
        for year, month, day in ((1970, 1, 1), (2024, 2, 29), (2026, 12, 31), (2027, 1, 1)):
            then = datetime(year, month, day, tzinfo=UTC)
            number = month_of(int(then.timestamp() * 1000) // DAY_MS)
            first = datetime.fromtimestamp(month_start_ms(number) / 1000, UTC)
            self.assertEqual((first.year, first.month, first.day), (year, month, 1))
