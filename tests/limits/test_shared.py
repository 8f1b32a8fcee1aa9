"""The limiter of several processes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.limits.contract import NOON_MS, LimiterContract, scope
from tests.limits.rig import Rotating, make_table
from tests.limits.test_ledger import Sum
from tests.usage.events import event
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits, Scope
from voidllm.limits.shared import SharedLimiter
from voidllm.limits.shared_table import LAST, REQUESTS, TICK
from voidllm.limits.windows import DAY_MS


class SharedTests(LimiterContract, SynchronousTestCase):
    """What one process does, three do together."""

    def make(self) -> Rotating:
        """Make three."""
        return Rotating(3)


class AloneTests(LimiterContract, SynchronousTestCase):
    """One process with a table."""

    def make(self) -> Rotating:
        """Make one."""
        return Rotating(1)


class TogetherTests(SynchronousTestCase):
    """What only several processes can get wrong."""

    def setUp(self) -> None:
        """Make three limiters on one table."""
        self.warnings: list[str] = []
        self.table = make_table(3)
        self.first, self.second, self.third = (
            SharedLimiter(self.table, column, self.warnings.append) for column in range(3)
        )

    def _refused(self, limiter: Any, *scopes: Scope, tokens: int = 0) -> Refusal:
        return self.assertRaises(Refusal, limiter.reserve, scopes, tokens, NOON_MS)

    def test_race(self) -> None:
        """Of two that want the last, one that adds before the other has looked keeps it out."""
        key = scope(requests_per_minute=1)
        racing: list[Refusal] = []

        def fence() -> None:
            # The other one comes between adding and looking.
            if not racing:
                racing.append(self._refused(self.second, key))

        self.first._fence = fence
        self.first.reserve((key,), 0, NOON_MS)
        self._refused(self.first, key)
        self.assertEqual(racing[0].code, "rate_limit_exceeded")

    def test_lost_race_is_tried_again(self) -> None:
        """Who was kept out by what another took back is let in."""
        key = scope(requests_per_minute=1)
        view, at = self.table.view, self.table.summary(0, 1)
        view[at + TICK] = NOON_MS // 1000
        take_back = self.first._take_back

        def fence() -> None:
            view[at + REQUESTS] = 1

        def both_take_back(records: Any, tokens: int) -> None:
            self.first._fence = lambda: None
            take_back(records, tokens)
            view[at + REQUESTS] = 0

        self.first._fence = fence
        self.patch(self.first, "_take_back", both_take_back)
        self.first.reserve((key,), 0, NOON_MS)
        self._refused(self.second, key)

    def test_flood(self) -> None:
        """Refused requests touch nothing from the second one on, so they crowd nobody out."""
        key, org = scope(requests_per_day=1), scope("org", requests_per_minute=3)
        self.first.reserve((key, org), 0, NOON_MS)
        self._refused(self.first, key, org)
        writes = []

        class View:
            def __getitem__(_, at: int) -> int:
                return self.table.data[at]

            def __setitem__(_, at: int, value: int) -> None:
                writes.append(at)

        self.first._view = View()  # type: ignore[assignment]
        for _ in range(5):
            self._refused(self.first, key, org)
        self.assertEqual(writes, [])

    def test_idle_process(self) -> None:
        """What a process counted that has nothing to do any more is forgotten in time."""
        key = scope(requests_per_minute=3, requests_per_day=100, tokens_per_month=1000)
        for _ in range(3):
            self.first.reserve((key,), 10, NOON_MS)
        self.assertRaises(Refusal, self.second.reserve, (key,), 0, NOON_MS + 60_000)
        reservation = self.second.reserve((key,), 0, NOON_MS + 61_000)
        headers = dict(self.second.headers(reservation, NOON_MS + 61_000))
        self.assertEqual(headers[b"x-ratelimit-remaining-requests"], b"2")
        self.assertEqual(headers[b"x-ratelimit-remaining-tokens"], b"970")

    def test_without_a_cell(self) -> None:
        """A scope that cannot be counted is refused, and that is said once."""
        for cell in (-1, 8, 1 << 70):
            lost = Scope("key", "lost", Limits(requests_per_minute=1), cell)
            refusal = self._refused(self.first, scope("org", requests_per_minute=1), lost)
            self.assertEqual((refusal.status, refusal.code), (503, "service_unavailable"))
        self.assertEqual(len(self.warnings), 1)
        self.first.reserve((scope("org", requests_per_minute=1),), 0, NOON_MS)

    def test_absurd_numbers(self) -> None:
        """Numbers that no word holds neither raise nor make room."""
        free, key = scope("org", requests_per_minute=9), scope(tokens_per_day=100)
        reservation = self.first.reserve((free,), 1 << 62, NOON_MS)
        self.first.settle(reservation, 10**40, NOON_MS)
        self.assertEqual(self._refused(self.first, key, tokens=10**30).code, "token_limit_exceeded")
        reservation = self.first.reserve((key,), 100, NOON_MS)
        self.first.settle(reservation, 10**30, NOON_MS)
        self._refused(self.second, key)

    def test_rebuild(self) -> None:
        """All go on from what the first column was given at the start."""
        key, org = scope(tokens_per_day=200), scope("org", tokens_per_month=2000)
        lost = {("key", "key-1"): 0, ("org", "org-1"): 2, ("team", "team-1"): -1}
        sums = [Sum("key", "key-1", 3, 100, 9, 500), Sum("org", "org-1", 4, 150, 20, 1000)]
        events = [event(1, started_ms=NOON_MS, key_id="key-1", org_id="org-1", team_id="team-1")]
        used = events[0].tokens.total
        self.first.rebuild(sums, NOON_MS, events, lost)
        self._refused(self.second, key, tokens=101 - used)
        self.second.reserve((key,), 100 - used, NOON_MS)
        self._refused(self.third, key, tokens=1)
        self._refused(self.third, org, tokens=1001 - used)
        self.third.reserve((org,), 1000 - used, NOON_MS)
        self.second.reserve((key,), 200, NOON_MS + DAY_MS)

    def test_clock_set_back(self) -> None:
        """Whoever sees the clock step first, all go on with one time, and nobody is locked out."""
        key = scope(requests_per_minute=2)
        self.first.reserve((key,), 0, NOON_MS)
        back_ms = NOON_MS - 7_200_000
        self.second.reserve((key,), 0, back_ms)
        self.assertRaises(Refusal, self.first.reserve, (key,), 0, back_ms + 59_000)
        self.third.reserve((key,), 0, back_ms + 61_000)
        self.first.reserve((key,), 0, back_ms + 61_000)
        self.assertRaises(Refusal, self.second.reserve, (key,), 0, back_ms + 61_000)

    def test_no_such_column(self) -> None:
        """A column outside the table is nobody's."""
        self.assertRaises(ValueError, SharedLimiter, self.table, 3)
        self.assertRaises(ValueError, SharedLimiter, self.table, -1)

    def test_refused_was_not_the_last(self) -> None:
        """A refused request does not put off the moment at which all is left again."""
        key = scope(requests_per_minute=1)
        self.first.reserve((key,), 0, NOON_MS)
        self.assertRaises(Refusal, self.first.reserve, (key,), 0, NOON_MS + 9000)
        self.assertEqual(self.table.view[self.table.summary(0, 0) + LAST], NOON_MS // 1000)
