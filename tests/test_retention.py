"""What is too old is dropped on both stores, and nothing else."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.store.support import DAY, NOW, OnPostgres, OnSQLite, event, world
from voidllm.core.errors import StoreUnavailable
from voidllm.retention import Keep, Retention
from voidllm.store.records import UsageQuery
from voidllm.store.statements import Query

ALL = UsageQuery(NOW - 800 * DAY, NOW + 1, now_ms=NOW)


class _AtOnce(Clock):
    """A clock that calls what is put off as soon as anybody looks."""

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:
        call = super().callLater(0, callable, *args, **kw)
        from twisted.internet import reactor

        reactor.callLater(0, self.advance, 0)  # type: ignore[attr-defined]
        return call


class SweepSuite:
    """Behaviour that both stores share."""

    store: Any
    assertEqual: Any

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        def op() -> Any:
            found = yield Query(sql)
            return found

        return list(await self.store.read(op))

    async def sweep(self, **keep: Any) -> None:
        now = world(reactor=_AtOnce())
        await Retention(now, self.store, lambda: Keep(**keep)).sweep()

    async def test_old_rows_go_and_reports_stay(self) -> None:
        """Rows of days that are too old are gone, those after them and all sums are there."""
        days = (0, 1, 29, 31, 32, 500)
        await self.store.commit_usage("s", 1, [event(started_ms=NOW - days[n % 6] * DAY) for n in range(60)])
        before = await self.store.usage_report(evolve(ALL, group_by=("day",)))
        await self.sweep(events_ms=30 * DAY)
        self.assertEqual(await self.rows("SELECT count(*) FROM usage_events"), [(30,)])
        self.assertEqual(await self.store.usage_report(evolve(ALL, group_by=("day",))), before)
        self.assertEqual(len(before), 6)

    async def test_rows_are_added_up_before_they_go(self) -> None:
        """Rows that were in no sum yet are, afterwards."""
        await self.store.commit_usage("s", 1, [event(started_ms=NOW - 90 * DAY) for _ in range(7)])
        await self.sweep(events_ms=DAY)
        self.assertEqual(await self.rows("SELECT count(*) FROM usage_events"), [(0,)])
        (row,) = await self.store.usage_report(ALL)
        self.assertEqual(row.total_requests, 7)

    async def test_hours_go_after_a_while(self) -> None:
        """Hours that no report looks at are dropped; their days and months stay."""
        await self.store.commit_usage("s", 1, [event(started_ms=NOW - 13 * DAY), event(started_ms=NOW)])
        await self.store.roll_up()
        hours = "SELECT count(*) FROM usage_sums WHERE period > 1000000000"
        ((before,),) = await self.rows(hours)
        self.store._world = world(wall_ms=lambda: NOW + 10 * DAY)
        later = world(reactor=_AtOnce(), wall_ms=lambda: NOW + 10 * DAY)
        await Retention(later, self.store, Keep).sweep()
        ((after,),) = await self.rows(hours)
        self.assertEqual(after, before // 2)
        (row,) = await self.store.usage_report(ALL)
        self.assertEqual(row.total_requests, 2)

    async def test_sums_go_if_they_are_to(self) -> None:
        """Sums have an age of their own, and groups without any go with them."""
        await self.store.commit_usage("s", 1, [event(started_ms=NOW - 400 * DAY, model="old"), event()])
        await self.store.roll_up()
        await self.sweep(reports_ms=365 * DAY)
        (row,) = await self.store.usage_report(ALL)
        self.assertEqual(row.total_requests, 1)
        self.assertEqual(await self.rows("SELECT 1 FROM usage_groups WHERE model = 'old'"), [])

    async def test_nothing_goes_by_default(self) -> None:
        """Without a setting every row stays."""
        await self.store.commit_usage("s", 1, [event(started_ms=NOW - 700 * DAY)])
        await self.sweep()
        self.assertEqual(await self.rows("SELECT count(*) FROM usage_events"), [(1,)])


class SQLiteSweepTests(SweepSuite, OnSQLite):
    """On SQLite."""


class PostgresSweepTests(SweepSuite, OnPostgres):
    """On PostgreSQL."""

    async def test_days_are_dropped_whole(self) -> None:
        """The partitions of old days are gone, with their rows; others are as they were."""
        names = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_events'::regclass"
        await self.store.commit_usage("s", 1, [event(started_ms=NOW - 90 * DAY), event()])
        before = {name for (name,) in await self.rows(names)}
        await self.sweep(events_ms=30 * DAY)
        after = {name for (name,) in await self.rows(names)}
        self.assertEqual(before - after, {"usage_events_p20260826"})


class _Broken:
    """A store that is away."""

    async def roll_up(self) -> None:
        raise StoreUnavailable("away")


class ServiceTests(SynchronousTestCase):
    """When it looks."""

    def test_looks_now_and_then_whatever_fails(self) -> None:
        """A minute after the start, then at each interval, and never after the stop."""
        clock, seen = Clock(), list[float]()

        def other(now_ms: int) -> Deferred[None]:
            seen.append(clock.seconds())
            return succeed(None)

        service = Retention(world(reactor=clock), _Broken(), lambda: Keep(interval_s=3600.0), (other,))
        service.startService()
        clock.pump([60, 3600, 3600])
        self.assertEqual(seen, [60, 3660, 7260])
        service.stopService()
        clock.advance(10_000)
        self.assertEqual((len(seen), clock.getDelayedCalls()), (3, []))
