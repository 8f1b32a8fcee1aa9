"""The limiter of one process, in memory."""

from __future__ import annotations

from itertools import islice
from typing import Container, Iterable, Iterator

from zope.interface import implementer

from voidllm.core.errors import Refusal
from voidllm.core.interfaces import ILimiter
from voidllm.core.principal import Scope
from voidllm.core.usage import UsageEvent
from voidllm.limits.counter import Counter, Now, standing
from voidllm.limits.headers import Headers
from voidllm.limits.recount import Key, ScopeUsed, recount
from voidllm.limits.refusing import refusal
from voidllm.limits.reservation import UNLIMITED, Reservation, SettledTwice
from voidllm.limits.windows import DAY_MS, SLOTS, TICK_MS, month_of

_FIRST_SWEPT = 256

#: Scopes, and for each its counter with its limits, up to date.
Ready = tuple[tuple[Scope, ...], list[Counter]]


@implementer(ILimiter)
class MemoryLimiter:
    """Decides on every limit of every scope at once, and counts only what it admits.

    Minutes run on a clock that follows the wall clock forwards and ignores its steps back;
    a step forwards ends the current minute early. Days and months are those of the wall clock.

    Memory: one counter for each scope that was used in the current month and has limits, about
    1 KB while it was used in the last minute. A few old ones are looked at every second.
    """

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], Counter] = {}
        self._wall_ms = -1
        self._steady_ms = -1
        self._tick = 0
        self._day = -1
        self._month = 0
        self._moment: Now | None = None
        # Of the current second and day only.
        self._ready: dict[int, Ready] = {}
        self._sweep: Iterator[tuple[str, str]] = iter(())

    def __len__(self) -> int:
        return len(self._counters)

    def reserve(self, scopes: tuple[Scope, ...], tokens: int, now_ms: int) -> Reservation:
        """Count one request and ``tokens`` in every scope, or in none.

        :param tokens: the estimate; it stands until :meth:`settle`.
        :raises Refusal: 429, ``token_limit_exceeded`` if tokens are what keeps it out longest,
            else ``rate_limit_exceeded``. ``retry_after_ms`` is when everything that is counted
            now would leave room for it; a minute, with ``x-should-retry: false``, if the estimate
            alone is over a limit, so that only a smaller request can succeed.
        """
        if not scopes:
            return UNLIMITED
        if now_ms != self._wall_ms:
            self._advance(now_ms)
        # Holding the scopes keeps their id from being given to others.
        counters = (self._ready.get(id(scopes)) or self._make_ready(scopes))[1]
        for counter in counters:
            minute, in_day = counter.minute, counter.day
            assert minute is not None
            if (
                minute.requests >= counter.rpm
                or minute.tokens + tokens > counter.tpm
                or in_day.requests >= counter.rpd
                or in_day.tokens + tokens > counter.tpd
                or counter.month.tokens + tokens > counter.tpc
            ):
                raise self._refusal(scopes, counters, tokens)
        # Written out, because calls would cost more than what they do; see SlidingMinute.add.
        tick = self._tick
        slot = tick % SLOTS
        for counter in counters:
            used = counter.minute
            assert used is not None
            used.last = tick
            used.requests += 1
            used.request_slots[slot] += 1
            used.tokens += tokens
            used.token_slots[slot] += tokens
            in_day = counter.day
            in_day.requests += 1
            in_day.tokens += tokens
            counter.month.tokens += tokens
        return Reservation(scopes, counters, tokens, tick, self._day, self._month)

    def settle(self, reservation: Reservation, tokens: int, now_ms: int) -> None:
        """Replace the estimate by the truth, which may take a scope over its limit.

        What was reserved too much is given back where it was counted. What was used beyond the
        estimate counts in the current minute, and in the day and month of the reservation.

        :raises SettledTwice: if it was settled before.
        """
        if reservation is UNLIMITED:
            return
        if reservation.settled:
            raise SettledTwice("a reservation is settled once")
        reservation.settled = True
        more = tokens - reservation.tokens
        if more == 0:
            return
        if now_ms != self._wall_ms:
            self._advance(now_ms)
        counters = reservation.counters
        if more > 0:
            # The counter may have been swept meanwhile.
            counters = [self._find(scope) for scope in reservation.scopes]
        tick, day, month = reservation.tick, reservation.day, reservation.month
        slot = tick % SLOTS
        for counter in counters:
            minute = counter.minute
            if more > 0:
                minute = minute or counter.wake(self._tick)
                minute.advance(self._tick)
                minute.add(0, more)
            elif minute is not None:
                # The usual cases written out; see SlidingMinute.take_back and CalendarWindow.adjust.
                slots = minute.token_slots
                if 0 <= minute.tick - tick < SLOTS and slots[slot] + more >= 0:
                    slots[slot] += more
                    minute.tokens += more
                else:
                    minute.take_back(tick, -more)
            window = counter.day
            if window.period == day and window.tokens + more >= 0:
                window.tokens += more
            else:
                window.adjust(day, more)
            window = counter.month
            if window.period == month and window.tokens + more >= 0:
                window.tokens += more
            else:
                window.adjust(month, more)

    def headers(self, reservation: Reservation, now_ms: int) -> Headers:
        """Give ``x-ratelimit-*`` of the limits, among all scopes, that leave the least."""
        if not reservation.counters:
            return ()
        if now_ms != self._wall_ms:
            self._advance(now_ms)
        now = self._now()
        ready = self._ready.get(id(reservation.scopes))
        if ready is not None:
            return standing(ready[1], now)
        for counter in reservation.counters:
            counter.refresh(now)
        return standing(reservation.counters, now)

    def used(self, scope: Scope, now_ms: int) -> tuple[int, int, int, int, int]:
        """Give requests and tokens of the minute and of the day, and tokens of the month."""
        if now_ms != self._wall_ms:
            self._advance(now_ms)
        counter = self._counters.get((scope.kind, scope.id))
        if counter is None:
            return 0, 0, 0, 0, 0
        minute = counter.refresh(self._now())
        return minute.requests, minute.tokens, counter.day.requests, counter.day.tokens, counter.month.tokens

    def rebuild(
        self,
        usages: Iterable[ScopeUsed],
        now_ms: int,
        events: Iterable[UsageEvent] = (),
        wanted: Container[Key] | None = None,
    ) -> None:
        """Add what was used in the current day and month before this process began.

        Called once, before the first request. The caller takes care that no unit of work is
        in both ``usages`` and ``events``.

        :param usages: the store's sums, read for the day and month of ``now_ms``.
        :param events: what is in the journal and not in the store.
        :param wanted: ``(kind, id)`` of the scopes to seed, ``None`` for all.
        """
        self._advance(now_ms)
        for key, used in recount(usages, events, self._day, self._month, wanted).items():
            counter = self._counters.setdefault(key, Counter())
            counter.day.enter(self._day)
            counter.day.add(used.day_requests, used.day_tokens)
            counter.month.enter(self._month)
            counter.month.add(used.month_requests, used.month_tokens)

    def _open(self, scope: Scope) -> Counter:
        counter = self._counters[scope.kind, scope.id] = Counter()
        return counter

    def _make_ready(self, scopes: tuple[Scope, ...]) -> Ready:
        """Find the counters of scopes and bring them up to now, once for each second."""
        now = self._now()
        counters = []
        for scope in scopes:
            counter = self._counters.get((scope.kind, scope.id)) or self._open(scope)
            if counter.limits is not scope.limits:
                if counter.limits not in (None, scope.limits):
                    # What is ready for others holds a counter that must have its limits again.
                    self._ready.clear()
                counter.adopt(scope.limits)
            counter.refresh(now)
            counters.append(counter)
        ready = self._ready[id(scopes)] = scopes, counters
        return ready

    def _find(self, scope: Scope) -> Counter:
        counter = self._counters.get((scope.kind, scope.id)) or self._open(scope)
        if counter.limits is None:
            counter.adopt(scope.limits)
        return counter

    def _advance(self, now_ms: int) -> None:
        if self._wall_ms < 0:
            self._steady_ms = now_ms
        elif now_ms > self._wall_ms:
            self._steady_ms += now_ms - self._wall_ms
        self._wall_ms = now_ms
        self._moment = None
        day = now_ms // DAY_MS
        if day != self._day:
            self._day = day
            self._month = month_of(day)
            self._ready.clear()
        tick = self._steady_ms // TICK_MS
        if tick != self._tick:
            self._tick = tick
            self._ready.clear()
            self._sweep_some()

    def _sweep_some(self) -> None:
        counters, now = self._counters, self._now()
        keys = list(islice(self._sweep, _FIRST_SWEPT + len(counters) // _FIRST_SWEPT))
        if not keys:
            # A list, because counters come and go while it is walked.
            self._sweep = iter(list(counters))
            return
        for key in keys:
            counter = counters.get(key)
            if counter is not None and counter.idle(now):
                del counters[key]

    def _now(self) -> Now:
        now = self._moment
        if now is None:
            now = self._moment = Now(self._steady_ms, self._wall_ms, self._tick, self._day, self._month)
        return now

    def _refusal(self, scopes: tuple[Scope, ...], counters: list[Counter], tokens: int) -> Refusal:
        kinds = (scope.kind for scope in scopes)
        found = refusal(zip(kinds, counters, strict=True), tokens, self._now())
        assert found is not None
        return found
