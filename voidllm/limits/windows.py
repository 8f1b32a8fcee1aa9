"""Counting windows: the last minute, and the calendar's days and months (UTC).

Pure and not thread-safe. Requests and tokens are counted side by side because they are always
admitted together. Times are integers: ticks of one second, or numbers of days and months.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache

TICK_MS = 1000
DAY_MS = 86_400_000

# A span of 60 s touches at most this many whole seconds.
SLOTS = 61

_EPOCH = date(1970, 1, 1).toordinal()


class SlidingMinute:
    """What was admitted in the last 60 seconds, in buckets of one second.

    A bucket is forgotten only when all of it is older than 60 s, so no span of 60 s, wherever
    it begins, ever holds more than a limit checked against these sums. The price is that a
    unit is remembered for up to one second longer than a minute.

    :ivar tick: the second up to which old buckets are forgotten.
    :ivar requests: requests in the window.
    :ivar tokens: tokens in the window.
    """

    __slots__ = ("last", "request_slots", "requests", "tick", "token_slots", "tokens")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.last = tick
        self.requests = 0
        self.tokens = 0
        self.request_slots = [0] * SLOTS
        self.token_slots = [0] * SLOTS

    def advance(self, tick: int) -> None:
        """Forget what is older than a minute at ``tick``; an earlier tick changes nothing.

        Costs one step for every second passed, at most :data:`SLOTS`.
        """
        passed = tick - self.tick
        if passed <= 0:
            return
        if not (self.requests or self.tokens):
            # Every bucket is empty already.
            pass
        elif passed >= SLOTS:
            self.requests = self.tokens = 0
            self.request_slots = [0] * SLOTS
            self.token_slots = [0] * SLOTS
        else:
            for old in range(self.tick + 1, tick + 1):
                slot = old % SLOTS
                self.requests -= self.request_slots[slot]
                self.tokens -= self.token_slots[slot]
                self.request_slots[slot] = self.token_slots[slot] = 0
        self.tick = tick

    def add(self, requests: int, tokens: int) -> None:
        """Count now, that is, at the tick last advanced to."""
        slot = self.tick % SLOTS
        self.request_slots[slot] += requests
        self.requests += requests
        self.token_slots[slot] += tokens
        self.tokens += tokens
        self.last = self.tick

    def take_back(self, tick: int, tokens: int) -> None:
        """Give back tokens that were counted at ``tick``, if that is still remembered."""
        if self.tick - SLOTS < tick <= self.tick:
            slot = tick % SLOTS
            counted = self.token_slots[slot]
            if tokens > counted:
                tokens = counted
            self.token_slots[slot] = counted - tokens
            self.tokens -= tokens

    def ticks_until_requests(self, room: int) -> int:
        """Say in how many ticks at most ``room`` requests are remembered, if no more come."""
        return self._ticks_until(self.requests, self.request_slots, room)

    def ticks_until_tokens(self, room: int) -> int:
        """Say in how many ticks at most ``room`` tokens are remembered, if no more come."""
        return self._ticks_until(self.tokens, self.token_slots, room)

    def ticks_until_empty(self) -> int:
        """Say in how many ticks nothing is remembered."""
        ticks = self.last + SLOTS - self.tick
        return ticks if ticks > 0 and (self.requests or self.tokens) else 0

    def _ticks_until(self, total: int, slots: list[int], room: int) -> int:
        for ticks in range(SLOTS):
            if total <= room:
                return ticks
            # After one more tick, the oldest bucket's place is taken by a new one.
            total -= slots[(self.tick + 1 + ticks) % SLOTS]
        return SLOTS


class CalendarWindow:
    """What was admitted in one calendar period, and in one other that the clock may go back to.

    Two periods are remembered: the current one, and the latest other one. A clock that steps
    back over midnight and forth again finds the counts as they were, so it never grants a
    period twice. A step back to a period before both begins with the earlier one's counts,
    because how much was used then is not known any more.

    :ivar period: number of the current period, -1 before the first.
    :ivar other: the other period: its number (-1 if there is none), requests, tokens.
    """

    __slots__ = ("other", "period", "requests", "tokens")

    def __init__(self) -> None:
        self.period = -1
        self.requests = 0
        self.tokens = 0
        self.other = (-1, 0, 0)

    def enter(self, period: int) -> None:
        """Make ``period`` the current one."""
        if period == self.period:
            return
        current = (self.period, self.requests, self.tokens)
        other = self.other
        if period == other[0]:
            self.period, self.requests, self.tokens = other
            self.other = current
            return
        known = [kept for kept in (current, other) if kept[0] >= 0]
        earliest = min(known, default=(-1, 0, 0))
        start = earliest[1:] if period < earliest[0] else (0, 0)
        self.other = max(known, default=other)
        self.period = period
        self.requests, self.tokens = start

    def add(self, requests: int, tokens: int) -> None:
        """Count in the current period."""
        self.requests += requests
        self.tokens += tokens

    def adjust(self, period: int, tokens: int) -> None:
        """Add ``tokens``, which may be negative, to ``period`` if it is still remembered.

        A period that is over and forgotten limits nobody, so its late truth changes nothing.
        """
        if period == self.period:
            self.tokens = max(0, self.tokens + tokens)
        elif period == self.other[0]:
            _, requests, counted = self.other
            self.other = (period, requests, max(0, counted + tokens))


def month_of(day: int) -> int:
    """Give the number of the month, ``year * 12 + month - 1``, of a day since 1970-01-01."""
    then = date.fromordinal(_EPOCH + day)
    return then.year * 12 + then.month - 1


@lru_cache(maxsize=8)
def month_start_ms(month: int) -> int:
    """Give the Unix milliseconds at which the month of that number begins."""
    return (date(month // 12, month % 12 + 1, 1).toordinal() - _EPOCH) * DAY_MS
