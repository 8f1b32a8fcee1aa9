"""What every limiter does, whoever counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface.verify import verifyObject

from voidllm.core.errors import Refusal
from voidllm.core.interfaces import ILimiter
from voidllm.core.principal import Limits, Scope
from voidllm.limits.reservation import SettledTwice
from voidllm.limits.windows import DAY_MS

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Base
else:
    Base = object

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2
_CELLS = {"key": 0, "team": 1, "org": 2}


def scope(kind: str = "key", **numbers: int) -> Scope:
    """Give a scope with limits."""
    return Scope(kind, f"{kind}-1", Limits(**numbers), _CELLS[kind])


class LimiterContract(Base):
    """Reserve and settle."""

    def make(self) -> Any:
        """Make a limiter."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make a limiter at noon."""
        self.limiter = self.make()
        self.now_ms = NOON_MS

    def _reserve(self, *scopes: Scope, tokens: int = 0) -> object:
        return self.limiter.reserve(scopes, tokens, self.now_ms)

    def _refused(self, *scopes: Scope, tokens: int = 0) -> Refusal:
        return self.assertRaises(Refusal, self.limiter.reserve, scopes, tokens, self.now_ms)

    def _headers(self, reservation: object) -> dict[bytes, bytes]:
        return dict(self.limiter.headers(reservation, self.now_ms))

    def test_interface(self) -> None:
        """It is an ``ILimiter``."""
        verifyObject(ILimiter, self.limiter)

    def test_unlimited(self) -> None:
        """Without scopes nothing is counted, there are no headers, and settling is free."""
        reservation = self.limiter.reserve((), 5, self.now_ms)
        self.limiter.settle(reservation, 7, self.now_ms)
        self.assertEqual(self.limiter.headers(reservation, self.now_ms), ())
        self.assertEqual(len(self.limiter), 0)

    def test_used(self) -> None:
        """What is used up now can be asked for, and asking uses up nothing."""
        key = scope(
            requests_per_minute=9,
            tokens_per_minute=99,
            requests_per_day=9,
            tokens_per_day=99,
            tokens_per_month=99,
        )
        self.assertEqual(self.limiter.used(key, self.now_ms), (0, 0, 0, 0, 0))
        first = self._reserve(key, tokens=10)
        self._reserve(key, tokens=5)
        self.assertEqual(self.limiter.used(key, self.now_ms), (2, 15, 2, 15, 15))
        self.limiter.settle(first, 1, self.now_ms)
        self.assertEqual(self.limiter.used(key, self.now_ms), (2, 6, 2, 6, 6))
        self.now_ms += 61_000
        self.assertEqual(self.limiter.used(key, self.now_ms), (0, 0, 2, 6, 6))
        self.now_ms += DAY_MS
        self.assertEqual(self.limiter.used(key, self.now_ms)[:4], (0, 0, 0, 0))

    def test_each_scope_its_own_number(self) -> None:
        """An organisation is not held to the number of one of its keys."""
        small, org = scope(requests_per_minute=1), scope("org", requests_per_minute=3)
        other = Scope("key", "key-2", Limits(requests_per_minute=5), 3)
        self._reserve(small, org)
        self._refused(small, org)
        self._reserve(other, org)
        self._reserve(other, org)
        self.assertIn("org", self._refused(other, org).message)

    def test_refused_costs_nothing(self) -> None:
        """What the organisation refuses uses up nothing of the key."""
        key, org = scope(requests_per_day=2), scope("org", requests_per_minute=1)
        self._reserve(key, org)
        for _ in range(5):
            self._refused(key, org)
        self.now_ms += 61_000
        self._reserve(key, org)

    def test_any_minute(self) -> None:
        """No span of sixty seconds holds more than the limit, wherever it begins."""
        key = scope(requests_per_minute=2)
        self._reserve(key)
        self.now_ms += 59_000
        self._reserve(key)
        self.now_ms += 900
        self._refused(key)
        self.now_ms += 1100
        self._reserve(key)
        self._refused(key)

    def test_token_estimate_stands(self) -> None:
        """Estimates of calls in flight count, so that parallel calls cannot overspend."""
        key = scope(tokens_per_day=100)
        first = self._reserve(key, tokens=60)
        self.assertEqual(self._refused(key, tokens=60).code, "token_limit_exceeded")
        self.limiter.settle(first, 40, self.now_ms)
        self._reserve(key, tokens=60)

    def test_truth_beyond_the_estimate(self) -> None:
        """What was used beyond the estimate counts, over the limit if need be."""
        key = scope(tokens_per_minute=100, tokens_per_month=1000)
        reservation = self._reserve(key, tokens=10)
        self.now_ms += 120_000
        self.limiter.settle(reservation, 500, self.now_ms)
        refusal = self._refused(key, tokens=1)
        self.assertEqual(refusal.retry_after_ms, 61_000)
        self.assertEqual(dict(refusal.headers)[b"x-ratelimit-remaining-tokens"], b"0")
        self.now_ms += 61_000
        self._refused(key, tokens=501)
        self._reserve(key, tokens=100)

    def test_settled_once(self) -> None:
        """A second settlement raises and counts nothing."""
        key = scope(tokens_per_day=100)
        reservation = self._reserve(key, tokens=50)
        self.limiter.settle(reservation, 50, self.now_ms)
        self.assertRaises(SettledTwice, self.limiter.settle, reservation, 0, self.now_ms)
        self._refused(key, tokens=51)

    def test_too_large_at_all(self) -> None:
        """An estimate over the limit itself is refused, and SDKs are told not to try again."""
        refusal = self._refused(scope(requests_per_day=9, tokens_per_minute=100), tokens=101)
        self.assertEqual((refusal.code, refusal.retry_after_ms), ("token_limit_exceeded", 60_000))
        self.assertIn((b"x-should-retry", b"false"), refusal.headers)

    def test_longest_wait_wins(self) -> None:
        """Of several limits that refuse, the one that refuses longest is told."""
        key, org = scope(requests_per_minute=1), scope("org", requests_per_day=1)
        self._reserve(key, org)
        refusal = self._refused(key, org)
        self.assertEqual(refusal.retry_after_ms, DAY_MS // 2)
        self.assertEqual(dict(refusal.headers)[b"x-ratelimit-reset-requests"], b"12h0m0s")

    def test_month(self) -> None:
        """A month's tokens come back with the next month, and the refusal says when."""
        key = scope(tokens_per_month=100)
        self._reserve(key, tokens=100)
        refusal = self._refused(key, tokens=1)
        assert refusal.retry_after_ms is not None
        self.now_ms += refusal.retry_after_ms - 1
        self._refused(key, tokens=1)
        self.now_ms += 1
        self._reserve(key, tokens=1)

    def test_late_settlement(self) -> None:
        """The truth about yesterday does not touch today, and still counts in the month."""
        key = scope(tokens_per_day=100, tokens_per_month=250)
        reservation = self._reserve(key, tokens=100)
        self.now_ms += DAY_MS
        self._reserve(key, tokens=100)
        self.limiter.settle(reservation, 60, self.now_ms)
        self._refused(key, tokens=1)
        self.now_ms += DAY_MS
        self._reserve(key, tokens=90)
        self._refused(key, tokens=1)

    def test_clock_steps_back(self) -> None:
        """A wall clock that steps back by hours neither grants anything anew nor locks anybody out."""
        key = scope(requests_per_minute=1, requests_per_day=3)
        self._reserve(key)
        self.now_ms -= 20 * 3_600_000
        self._refused(key)
        self.now_ms += 61_000
        self._reserve(key)
        self.now_ms += 61_000
        self._reserve(key)
        self.now_ms += 61_000
        self._refused(key)

    def test_limits_change(self) -> None:
        """New limits count what was used under the old ones."""
        self._reserve(scope(requests_per_minute=10))
        self._refused(scope(requests_per_minute=1))
        self._refused(scope(requests_per_day=1))
        self._reserve(scope(requests_per_day=2))

    def test_limits_of_two_snapshots(self) -> None:
        """Keys of before and after a change are held to what each says of their organisation."""
        organisation = scope("org", requests_per_minute=3)
        before = scope(requests_per_minute=9), organisation
        after = scope(requests_per_minute=9), scope("org", requests_per_minute=1)
        self._reserve(*before)
        for _ in range(2):
            self.limiter.reserve(before, 0, self.now_ms)
            with self.assertRaises(Refusal):
                self.limiter.reserve(after, 0, self.now_ms)
        with self.assertRaises(Refusal):
            self.limiter.reserve(before, 0, self.now_ms)

    def test_headers(self) -> None:
        """Headers tell of the limits that leave the least, requests and tokens each on their own."""
        key = scope(requests_per_minute=10, tokens_per_minute=1000)
        org = scope("org", requests_per_day=5, tokens_per_month=10_000)
        headers = self._headers(self._reserve(key, org, tokens=100))
        self.assertEqual(
            headers,
            {
                b"x-ratelimit-limit-requests": b"5",
                b"x-ratelimit-remaining-requests": b"4",
                b"x-ratelimit-reset-requests": b"12h0m0s",
                b"x-ratelimit-limit-tokens": b"1000",
                b"x-ratelimit-remaining-tokens": b"900",
                b"x-ratelimit-reset-tokens": b"1m1s",
            },
        )

    def test_headers_of_one_unit(self) -> None:
        """A unit without a limit has no headers."""
        headers = self._headers(self._reserve(scope(tokens_per_day=7)))
        self.assertEqual({name.rsplit(b"-", 1)[1] for name in headers}, {b"tokens"})

    def test_counters_of_this_month_stay(self) -> None:
        """A counter that is idle for an hour still knows its day."""
        key = scope(requests_per_day=1)
        self._reserve(key)
        for _ in range(20):
            self.now_ms += 180_000
            self._reserve(scope("org", requests_per_minute=99))
        self._refused(key)

    def test_settle_after_sweep(self) -> None:
        """What was used beyond the estimate counts even if its counter was dropped meanwhile."""
        key = scope(tokens_per_minute=100)
        reservation = self._reserve(key, tokens=1)
        self.now_ms += 40 * DAY_MS
        for _ in range(5):
            self.now_ms += 1000
            self._reserve(scope("org", requests_per_minute=99))
        self.limiter.settle(reservation, 101, self.now_ms)
        self._refused(key, tokens=1)
        self._headers(reservation)
