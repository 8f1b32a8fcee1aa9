"""Processes that are killed between any two words that they write, or are read there."""

from __future__ import annotations

import random
from operator import ge
from typing import Any, Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.limits.model import Entry, Model
from tests.limits.rig import make_table
from tests.limits.test_properties import START_MS, random_limits
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits, Scope
from voidllm.limits.counter import Now
from voidllm.limits.shared import SharedLimiter
from voidllm.limits.shared_reader import SharedReader, Sums
from voidllm.limits.shared_record import Record
from voidllm.limits.shared_table import SharedTable, make_fence
from voidllm.limits.windows import DAY_MS, month_of

_WAITS_MS = (500, 1000, 1000, 7000, 30_000, 60_000, 61_000)
_LONG_MS = (DAY_MS // 2, DAY_MS, 2 * DAY_MS, 20 * DAY_MS)


class _Killed(Exception):
    """The process is not there any more."""


class _Watched:
    """A view that tells of each write before it is done."""

    def __init__(self, view: Any, writing: Callable[[], None]) -> None:
        self._view = view
        self._writing = writing

    def __getitem__(self, at: int) -> int:
        value: int = self._view[at]
        return value

    def __setitem__(self, at: int, value: int) -> None:
        self._writing()
        self._view[at] = value


def watched(table: SharedTable, column: int, writing: Callable[[], None]) -> SharedLimiter:
    """Give a limiter of which ``writing`` hears before each word."""
    own = SharedTable(table.data, table.columns)
    own.view = _Watched(table.data, writing)  # type: ignore[assignment]
    return SharedLimiter(own, column)


class KilledTests(SynchronousTestCase):
    """One of two processes is killed; another one takes its column over, or none does."""

    @settings(max_examples=120)
    @given(st.integers(0, 2**32), st.integers(0, 300), st.booleans(), st.booleans())
    def test_killed_while_writing(self, seed: int, writes: int, long: bool, succeeded: bool) -> None:
        """Nothing is admitted that is over a limit, and a minute later nothing is left of it."""
        rng = random.Random(seed)
        scopes = tuple(Scope(kind, "1", random_limits(rng, long), n) for n, kind in enumerate(("key", "org")))
        left = writes

        def writing() -> None:
            nonlocal left
            if not left:
                raise _Killed
            left -= 1

        table = make_table(2)
        limiters: list[Any] = [SharedLimiter(table, 0), watched(table, 1, writing)]
        model, now_ms, dead = Model(), START_MS, False
        open_: list[tuple[int, Any, Entry]] = []
        for _ in range(60):
            if rng.random() < 0.3:
                now_ms += rng.choice(_WAITS_MS + _LONG_MS if long else _WAITS_MS)
            who = 0 if dead and not succeeded else rng.randrange(2)
            try:
                mine = [one for one in open_ if one[0] == who]
                if mine and rng.random() < 0.4:
                    chosen = rng.choice(mine)
                    open_.remove(chosen)
                    _, reservation, entry = chosen
                    used = rng.choice((0, 1, 5, 10, 60))
                    if used < entry.tokens:
                        # Killed in its midst, some of it may be given back.
                        model.settle(entry, used, now_ms)
                    limiters[who].settle(reservation, used, now_ms)
                    if used > entry.tokens:
                        model.settle(entry, used, now_ms)
                else:
                    tokens = rng.choice((0, 1, 7, 10, 30))
                    fits = model.fits(scopes, tokens, now_ms)
                    try:
                        reservation = limiters[who].reserve(scopes, tokens, now_ms)
                    except Refusal:
                        self.assertTrue(dead or not fits)
                    else:
                        self.assertTrue(fits)
                        open_.append((who, reservation, model.count(scopes, tokens, now_ms)))
            except _Killed:
                dead = True
                open_ = [one for one in open_ if one[0] == 0]
                limiters[1] = SharedLimiter(table, 1)
        self._all_is_there_again(limiters[0], now_ms + 62_000)

    def _all_is_there_again(self, limiter: SharedLimiter, now_ms: int) -> None:
        for cell, kind in enumerate(("key", "org")):
            scope = Scope(kind, "1", Limits(requests_per_minute=4, tokens_per_minute=40), cell)
            for _ in range(4):
                limiter.reserve((scope,), 10, now_ms)
            self.assertRaises(Refusal, limiter.reserve, (scope,), 0, now_ms)

    def test_successor_goes_on(self) -> None:
        """Whoever takes a column over knows its minute, its day and its month."""
        table = make_table(2)
        scope = Scope("key", "1", Limits(5, 7, 0, 0, 100), 0)
        first = SharedLimiter(table, 1)
        reservation = first.reserve((scope,), 10, START_MS)
        first.reserve((scope,), 20, START_MS + 2000)
        second = SharedLimiter(table, 1)
        headers = dict(second.headers(second.reserve((scope,), 30, START_MS + 3000), START_MS + 3000))
        self.assertEqual(headers[b"x-ratelimit-remaining-requests"], b"2")
        self.assertEqual(headers[b"x-ratelimit-remaining-tokens"], b"40")
        # One that is left from the first is not settled by the second, and stays counted.
        del reservation
        later_ms = START_MS + 70_000
        headers = dict(second.headers(second.reserve((scope,), 40, later_ms), later_ms))
        self.assertEqual(headers[b"x-ratelimit-remaining-requests"], b"3")
        self.assertEqual(headers[b"x-ratelimit-remaining-tokens"], b"0")

    def test_successor_after_the_clock_was_set_back(self) -> None:
        """A successor that never saw the clock step goes on with its column's time."""
        table = make_table(2)
        scope = Scope("key", "1", Limits(requests_per_minute=1), 0)
        SharedLimiter(table, 1).reserve((scope,), 0, START_MS)
        now_ms = START_MS - 3_600_000
        second = SharedLimiter(table, 1)
        self.assertRaises(Refusal, second.reserve, (scope,), 0, now_ms)
        second.reserve((scope,), 0, now_ms + 61_000)


class ReadTests(SynchronousTestCase):
    """One process reads between any two words that another writes."""

    @settings(max_examples=40)
    @given(st.integers(0, 2**32), st.booleans())
    def test_never_too_little(self, seed: int, long: bool) -> None:
        """What is read, at that moment or later, is never less than what counts before and after."""
        rng = random.Random(seed)
        table = make_table(2)
        scope = Scope("key", "1", Limits(10**6, 10**6, 10**6, 10**6, 10**6), 0)
        record = Record(table, 0, 0)
        record.adopt(scope.limits)
        reader, model, now_ms = SharedReader(table, make_fence()), Model(), START_MS
        moments: list[tuple[Now, Sums]] = []

        def writing() -> None:
            for now, floor in moments:
                # Twice, because the second time goes by what the first one found.
                reader.turn(now.day, now.month)
                for _ in range(2):
                    read = reader.sums(record, now.tick, now)
                    self.assertTrue(all(map(ge, read, floor)), (read, floor))

        writer = watched(table, 1, writing)
        open_: list[tuple[Any, Entry]] = []
        for _ in range(30):
            if rng.random() < 0.5:
                now_ms += rng.choice(_WAITS_MS + _LONG_MS if long else _WAITS_MS)
            times = [now_ms + ahead_ms for ahead_ms in (0, *rng.sample(_WAITS_MS + _LONG_MS, 2))]
            before = [model.sums(scope, at_ms) for at_ms in times]
            chosen = open_.pop(rng.randrange(len(open_))) if open_ and rng.random() < 0.4 else None
            used = rng.choice((0, 1, 5, 10, 60))
            if chosen is not None:
                model.settle(chosen[1], used, now_ms)
            after = [model.sums(scope, at_ms) for at_ms in times]
            moments[:] = [
                (_moment(at_ms), _least(one, other))
                for at_ms, one, other in zip(times, before, after, strict=True)
            ]
            if chosen is not None:
                writer.settle(chosen[0], used, now_ms)
            else:
                reservation = writer.reserve((scope,), 10, now_ms)
                open_.append((reservation, model.count((scope,), 10, now_ms)))


def _moment(at_ms: int) -> Now:
    day = at_ms // DAY_MS
    return Now(at_ms, at_ms, at_ms // 1000, day, month_of(day))


def _least(one: Sums, other: Sums) -> Sums:
    a, b, c, d, e = map(min, one, other)
    return a, b, c, d, e
