"""The limiter against the model, in runs that nobody thought of."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.limits.model import Entry, Model, values
from tests.limits.rig import Rotating
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits, Scope
from voidllm.limits.ledger import MemoryLimiter
from voidllm.limits.reservation import Reservation
from voidllm.limits.windows import DAY_MS, month_of

# Near the end of a month, so that days and months change within a run.
START_MS = 20_057 * DAY_MS + DAY_MS // 2

_SHORT_MS = (1, 500, 999, 1000, 7000, 20_000, 30_000, 59_000, 60_000)
_LONG_MS = (60_001, 61_000, DAY_MS // 2, DAY_MS, 20 * DAY_MS)

_seeds = st.integers(0, 2**32)


def random_limits(rng: random.Random, long: bool) -> Limits:
    """Give limits that are often off, and small where they are on."""
    requests, tokens = (0, 2, 3, 5, 8), (0, 25, 40, 100)
    return Limits(
        rng.choice(requests),
        rng.choice(requests) if long else 0,
        rng.choice(tokens),
        rng.choice(tokens) if long else 0,
        rng.choice(tokens) if long else 0,
    )


class PropertyTests(SynchronousTestCase):
    """Whatever the order of things."""

    @settings(max_examples=150)
    @given(_seeds, st.booleans())
    def test_as_the_model(self, seed: int, long: bool) -> None:
        """It decides as the model does, and a refused request passes exactly when it was told to come."""
        self._as_the_model(MemoryLimiter(), seed, long)

    @settings(max_examples=60)
    @given(_seeds, st.booleans(), st.integers(1, 3))
    def test_columns_as_the_model(self, seed: int, long: bool, columns: int) -> None:
        """Several processes decide together as the model does."""
        self._as_the_model(Rotating(columns), seed, long)

    @settings(max_examples=60)
    @given(_seeds, st.booleans(), st.integers(1, 3))
    def test_columns_as_one(self, seed: int, long: bool, columns: int) -> None:
        """Several processes say the same as one: refusals, waiting times and headers."""
        rng = random.Random(seed)
        one, many, now_ms = MemoryLimiter(), Rotating(columns), START_MS + rng.randrange(1000)
        keys = [Scope("key", str(n), random_limits(rng, long), n) for n in range(2)]
        org = Scope("org", "1", random_limits(rng, long), 2)
        ways = [(key, org) for key in keys]
        open_: list[tuple[Any, Any]] = []
        for _ in range(60):
            move = rng.random()
            if move < 0.3:
                now_ms += rng.choice(_SHORT_MS + _LONG_MS if long else _SHORT_MS)
            elif move < 0.5 and open_:
                pair = open_.pop(rng.randrange(len(open_)))
                used = rng.choice((0, 1, 5, 10, 60))
                one.settle(pair[0], used, now_ms)
                many.settle(pair[1], used, now_ms)
                # The one forgets scopes that used nothing in this month.
                if pair[0].month == month_of(now_ms // DAY_MS):
                    self.assertEqual(one.headers(pair[0], now_ms), many.headers(pair[1], now_ms))
            else:
                scopes, tokens = rng.choice(ways), rng.choice((0, 1, 7, 10, 30))
                said = [_reserve(limiter, scopes, tokens, now_ms) for limiter in (one, many)]
                if isinstance(said[0], Refusal):
                    self.assertEqual(str(said[0]), str(said[1]))
                else:
                    self.assertNotIsInstance(said[1], Refusal)
                    self.assertEqual(one.headers(said[0], now_ms), many.headers(said[1], now_ms))
                    open_.append((said[0], said[1]))

    def _as_the_model(self, limiter: Any, seed: int, long: bool) -> None:
        rng = random.Random(seed)
        key, other, team, org = (
            Scope(kind, number, random_limits(rng, long), cell)
            for cell, (kind, number) in enumerate((("key", "1"), ("key", "2"), ("team", "1"), ("org", "1")))
        )
        ways = ((key, org), (other, team, org), (org,))
        waits = _SHORT_MS + _LONG_MS if long else _SHORT_MS
        model, now_ms = Model(), START_MS
        open_: list[tuple[Reservation, Entry]] = []
        for _ in range(60):
            move = rng.random()
            if move < 0.25:
                now_ms += rng.choice(waits)
            elif move < 0.5 and open_:
                reservation, entry = open_.pop(rng.randrange(len(open_)))
                used = rng.choice((0, 1, 5, 10, 60))
                limiter.settle(reservation, used, now_ms)
                model.settle(entry, used, now_ms)
            else:
                scopes, tokens = rng.choice(ways), rng.choice((0, 1, 7, 10, 30))
                fits = model.fits(scopes, tokens, now_ms)
                try:
                    reservation = limiter.reserve(scopes, tokens, now_ms)
                except Refusal as refusal:
                    self.assertFalse(fits)
                    self._check_wait(model, scopes, tokens, now_ms, refusal)
                else:
                    self.assertTrue(fits)
                    open_.append((reservation, model.count(scopes, tokens, now_ms)))

    def _check_wait(
        self, model: Model, scopes: tuple[Scope, ...], tokens: int, now_ms: int, refusal: Refusal
    ) -> None:
        wait_ms = refusal.retry_after_ms
        assert wait_ms is not None
        if (b"x-should-retry", b"false") in refusal.headers:
            self.assertFalse(Model().fits(scopes, tokens, now_ms))
        else:
            self.assertTrue(model.fits(scopes, tokens, now_ms + wait_ms))
            self.assertFalse(model.fits(scopes, tokens, now_ms + wait_ms - 1))

    @settings(max_examples=150)
    @given(_seeds)
    def test_any_span(self, seed: int) -> None:
        """In any 60 s, however it begins, no more is admitted than the limits say."""
        rng = random.Random(seed)
        requests, tokens = rng.randint(1, 5), rng.randint(10, 60)
        key = Scope("key", "1", Limits(**values(requests_per_minute=requests, tokens_per_minute=tokens)))
        limiter, now_ms = MemoryLimiter(), START_MS + rng.randrange(1000)
        admitted: list[tuple[int, int]] = []
        for _ in range(80):
            now_ms += rng.choice((0, 1, 50, 999, 1000, rng.randrange(3000)))
            try:
                reservation = limiter.reserve((key,), estimate := rng.randrange(20), now_ms)
            except Refusal as refusal:
                # To come back as early as is said is the sharpest test.
                now_ms += (refusal.retry_after_ms or 1) - 1
                continue
            used = rng.randint(0, estimate)
            limiter.settle(reservation, used, now_ms)
            admitted.append((now_ms, used))
        for begin_ms, _ in admitted:
            span = [used for at_ms, used in admitted if begin_ms <= at_ms < begin_ms + 60_000]
            self.assertTrue(len(span) <= requests and sum(span) <= tokens)

    @settings(max_examples=60)
    @given(st.lists(st.tuples(st.integers(-DAY_MS, DAY_MS), st.integers(0, 9)), max_size=40))
    def test_stepping_clock(self, steps: list[tuple[int, int]]) -> None:
        """However the wall clock steps, a minute of steady time never holds more than its limit."""
        self._stepping_clock(MemoryLimiter(), steps)

    @settings(max_examples=60)
    @given(
        st.lists(st.tuples(st.integers(-DAY_MS, DAY_MS), st.integers(0, 9)), max_size=40), st.integers(1, 3)
    )
    def test_stepping_clock_of_columns(self, steps: list[tuple[int, int]], columns: int) -> None:
        """Nor does it where several processes count, whoever sees the clock step first."""
        self._stepping_clock(Rotating(columns), steps)

    def _stepping_clock(self, limiter: Any, steps: list[tuple[int, int]]) -> None:
        key = Scope("key", "1", Limits(**values(requests_per_minute=3)), 0)
        wall_ms, forward_ms = START_MS, 0
        admitted: list[int] = []
        for step_ms, tries in steps:
            wall_ms += step_ms
            forward_ms += max(0, step_ms)
            for _ in range(tries):
                try:
                    limiter.reserve((key,), 0, wall_ms)
                except Refusal as refusal:
                    assert refusal.retry_after_ms is not None
                    self.assertTrue(0 < refusal.retry_after_ms <= 61_000)
                    break
                admitted.append(forward_ms)
        for begin_ms in admitted:
            self.assertTrue(len([at for at in admitted if begin_ms <= at < begin_ms + 60_000]) <= 3)


def _reserve(limiter: Any, scopes: tuple[Scope, ...], tokens: int, now_ms: int) -> Any:
    try:
        return limiter.reserve(scopes, tokens, now_ms)
    except Refusal as refusal:
        return refusal
