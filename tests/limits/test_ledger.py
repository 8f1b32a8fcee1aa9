"""The limiter of one process: one decision, counted once."""

from __future__ import annotations

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.limits.contract import NOON_MS, LimiterContract, scope
from tests.usage.events import event
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits, Principal, Scope
from voidllm.core.usage import TokenCounts
from voidllm.limits.ledger import MemoryLimiter
from voidllm.limits.recount import counted_scopes
from voidllm.limits.windows import DAY_MS


@frozen
class Sum:
    """What the store says of one scope."""

    kind: str
    id: str
    day_requests: int
    day_tokens: int
    month_requests: int
    month_tokens: int


class LedgerTests(LimiterContract, SynchronousTestCase):
    """Reserve and settle in memory."""

    def make(self) -> MemoryLimiter:
        """Make a limiter."""
        return MemoryLimiter()

    def test_idle_counters_go(self) -> None:
        """Counters of a month that is over are dropped, a few every second."""
        for number in range(2000):
            self.limiter.reserve((Scope("key", str(number), Limits(requests_per_minute=1)),), 0, self.now_ms)
        self.assertEqual(len(self.limiter), 2000)
        self.now_ms += 40 * DAY_MS
        for _ in range(20):
            self.now_ms += 1000
            self._reserve(scope(requests_per_minute=99))
        self.assertEqual(len(self.limiter), 1)


class RebuildTests(SynchronousTestCase):
    """A start in the middle of a day."""

    def test_store_and_journal(self) -> None:
        """The day and the month go on from what the store and the journal's rest hold."""
        limiter = MemoryLimiter()
        day = Scope("key", "key", Limits(tokens_per_day=200))
        month = Scope("org", "org", Limits(tokens_per_month=2000))
        sums = [Sum("key", "key", 3, 100, 9, 500), Sum("org", "org", 4, 150, 20, 1000)]
        used = TokenCounts(input=20, output=10)
        events = [
            event(1, started_ms=NOON_MS, tokens=used),
            event(2, started_ms=NOON_MS - DAY_MS, tokens=used),
            event(3, started_ms=NOON_MS - 40 * DAY_MS, tokens=used),
            event(4, started_ms=NOON_MS, tokens=used, status=429, deployment=""),
        ]
        limiter.rebuild(sums, NOON_MS, events)
        self.assertRaises(Refusal, limiter.reserve, (day,), 71, NOON_MS)
        limiter.reserve((day,), 70, NOON_MS)
        self.assertRaises(Refusal, limiter.reserve, (month,), 941, NOON_MS)
        limiter.reserve((month,), 940, NOON_MS)

    def test_requests_and_teams(self) -> None:
        """Requests go on too, and a team's events count for it."""
        limiter = MemoryLimiter()
        limiter.rebuild([], NOON_MS, [event(1, started_ms=NOON_MS, team_id="team-1")])
        team = scope("team", requests_per_day=1)
        self.assertRaises(Refusal, limiter.reserve, (team,), 0, NOON_MS)

    def test_wanted(self) -> None:
        """Only scopes that have limits need to be kept."""
        limiter = MemoryLimiter()
        who = Principal("key", "user_key", "", "org", counted=(Scope("key", "key", Limits(1)),))
        sums = [Sum("key", "key", 1, 1, 1, 1), Sum("key", "other", 1, 1, 1, 1)]
        limiter.rebuild(sums, NOON_MS, [event(1, started_ms=NOON_MS)], counted_scopes([who]))
        self.assertEqual(len(limiter), 1)
