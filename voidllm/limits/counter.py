"""One scope's limits and what it has used of them."""

from __future__ import annotations

from typing import Iterator, Sequence

from attrs import frozen

from voidllm.core.principal import Limits
from voidllm.core.values import value
from voidllm.limits.headers import Headers, render
from voidllm.limits.windows import DAY_MS, SLOTS, TICK_MS, CalendarWindow, SlidingMinute, month_start_ms

_ENDLESS = 1 << 64
#: Less than an unlimited window ever leaves, more than a limited one does.
_MOST_LEFT = 1 << 62
_DAY, _MONTH = 0, 1


@value
class Now:
    """One moment, in the units of the windows.

    :ivar steady_ms: milliseconds that never go back; ``tick`` is the second of it.
    :ivar wall_ms: Unix milliseconds; ``day`` and ``month`` are numbers in UTC.
    """

    steady_ms: int
    wall_ms: int
    tick: int
    day: int
    month: int


@frozen
class Verdict:
    """Why a limit refuses.

    :ivar unit: ``requests`` or ``tokens``.
    :ivar wait_ms: when it could be admitted, or ``None`` if the ask alone is over the limit.
    """

    unit: str
    wait_ms: int | None


class Counter:
    """What one scope has used, and the limits last seen for it.

    Everything is counted whatever is limited, so that a limit that is set later finds the
    truth, and one that is changed keeps it.

    :ivar rpm: requests a minute; this and the next four are huge where unlimited.
    :ivar tpm: tokens a minute.
    :ivar rpd: requests a day.
    :ivar tpd: tokens a day.
    :ivar tpc: tokens a calendar month.
    :ivar minute: ``None`` while nothing was used in the last minute.
    """

    __slots__ = ("day", "limits", "minute", "month", "rpd", "rpm", "tpc", "tpd", "tpm")

    def __init__(self) -> None:
        self.limits: Limits | None = None
        self.rpm = self.tpm = self.rpd = self.tpd = self.tpc = _ENDLESS
        self.minute: SlidingMinute | None = None
        self.day = CalendarWindow()
        self.month = CalendarWindow()

    def adopt(self, limits: Limits) -> None:
        """Use ``limits`` from now on."""
        self.limits = limits
        self.rpm = limits.requests_per_minute or _ENDLESS
        self.tpm = limits.tokens_per_minute or _ENDLESS
        self.rpd = limits.requests_per_day or _ENDLESS
        self.tpd = limits.tokens_per_day or _ENDLESS
        self.tpc = limits.tokens_per_month or _ENDLESS

    def wake(self, tick: int) -> SlidingMinute:
        """Make the sliding minute that an idle counter has not got."""
        self.minute = SlidingMinute(tick)
        return self.minute

    def refresh(self, now: Now) -> SlidingMinute:
        """Bring every window up to ``now``; gives the minute."""
        minute = self.minute or self.wake(now.tick)
        minute.advance(now.tick)
        self.day.enter(now.day)
        self.month.enter(now.month)
        return minute

    def idle(self, now: Now) -> bool:
        """Drop the minute if it is empty; says whether the counter holds nothing that counts."""
        if self.minute is not None:
            self.minute.advance(now.tick)
            if not self.minute.ticks_until_empty():
                self.minute = None
        return self.minute is None and self.month.period < now.month

    def verdicts(self, tokens: int, now: Now) -> Iterator[Verdict]:
        """Say of every limit that refuses one request of ``tokens`` why."""
        minute = self.refresh(now)
        if minute.requests >= self.rpm:
            yield Verdict("requests", _ticks_ms(minute.ticks_until_requests(self.rpm - 1), now))
        if self.day.requests >= self.rpd:
            yield Verdict("requests", _day_end_ms(now))
        if tokens > min(self.tpm, self.tpd, self.tpc):
            yield Verdict("tokens", None)
            return
        if minute.tokens + tokens > self.tpm:
            yield Verdict("tokens", _ticks_ms(minute.ticks_until_tokens(self.tpm - tokens), now))
        if self.day.tokens + tokens > self.tpd:
            yield Verdict("tokens", _day_end_ms(now))
        if self.month.tokens + tokens > self.tpc:
            yield Verdict("tokens", _month_end_ms(now))


def standing(counters: Sequence[Counter], now: Now) -> Headers:
    """Give the headers for the limit on requests and the one on tokens that leave the least.

    Of limits that leave the same, the first counter's wins, and in it the longest period's.

    :param counters: brought up to ``now``, see :meth:`Counter.refresh`.
    """
    requests_left = tokens_left = _MOST_LEFT
    requests_limit = tokens_limit = 0
    requests_by: SlidingMinute | int = _DAY
    tokens_by: SlidingMinute | int = _DAY
    for counter in counters:
        minute, day, month = counter.minute, counter.day, counter.month
        assert minute is not None
        left = counter.rpd - day.requests
        if left < requests_left:
            requests_left, requests_limit, requests_by = left, counter.rpd, _DAY
        left = counter.rpm - minute.requests
        if left < requests_left:
            requests_left, requests_limit, requests_by = left, counter.rpm, minute
        left = counter.tpc - month.tokens
        if left < tokens_left:
            tokens_left, tokens_limit, tokens_by = left, counter.tpc, _MONTH
        left = counter.tpd - day.tokens
        if left < tokens_left:
            tokens_left, tokens_limit, tokens_by = left, counter.tpd, _DAY
        left = counter.tpm - minute.tokens
        if left < tokens_left:
            tokens_left, tokens_limit, tokens_by = left, counter.tpm, minute
    headers: Headers = ()
    if requests_limit:
        headers = render(b"requests", requests_limit, requests_left, _reset_ms(requests_by, now))
    if tokens_limit:
        headers += render(b"tokens", tokens_limit, tokens_left, _reset_ms(tokens_by, now))
    return headers


def _reset_ms(window: SlidingMinute | int, now: Now) -> int:
    if isinstance(window, int):
        return _day_end_ms(now) if window == _DAY else _month_end_ms(now)
    # What was counted last is forgotten last; see SlidingMinute.ticks_until_empty.
    return (window.last + SLOTS) * TICK_MS - now.steady_ms if window.requests or window.tokens else 0


def _ticks_ms(ticks: int, now: Now) -> int:
    return (now.tick + ticks) * TICK_MS - now.steady_ms if ticks else 0


def _day_end_ms(now: Now) -> int:
    return (now.day + 1) * DAY_MS - now.wall_ms


def _month_end_ms(now: Now) -> int:
    return month_start_ms(now.month + 1) - now.wall_ms
