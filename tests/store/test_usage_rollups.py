"""Sums of roll-ups against the rows that they were made of, in any time zone and by any groups."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.store.support import DAY, HOUR, NOW, OnPostgres, OnSQLite, event, org, world
from voidllm.core.usage import TokenCounts, UsageEvent
from voidllm.core.usage_days import at, hour_ms, number, zone_of
from voidllm.core.usage_histogram import LATENCY_BOUNDS, bucket, quantile
from voidllm.store import usage_roll
from voidllm.store.records import UsageQuery
from voidllm.store.sqlite import MEMORY, SQLiteStore
from voidllm.store.statements import Query
from voidllm.store.usage_columns import EVENT_COLUMNS
from voidllm.store.usage_report import PERIODS, cover_of
from voidllm.store.usage_rollups import BUCKETS, LATENCY, ROLLUPS, SUMS

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham")
NAMES = ("model", "provider", "deployment", "team", "user", "key", "status", "service_account", "endpoint")


def some_events(rng: Random, count: int, org_id: str, span_ms: int) -> list[UsageEvent]:
    """Make events of all kinds, spread over a time before now."""
    return [
        event(
            org_id=org_id,
            started_ms=NOW - rng.randrange(span_ms),
            model=rng.choice("abc"),
            deployment=rng.choice(("", "d/0")),
            provider=rng.choice("pq"),
            team_id=rng.choice((None, "t", "u")),
            user_id=rng.choice((None, "me")),
            service_account_id=rng.choice((None, "bot")),
            key_id=rng.choice(("k", "l")),
            endpoint=rng.choice(("chat/completions", "embeddings")),
            status=rng.choice((200, 200, 200, 429, 500)),
            duration_ms=rng.randrange(100_000),
            ttft_ms=rng.choice((None, rng.randrange(1000))),
            cost_nano=rng.choice((None, rng.randrange(10**9))),
            tokens=TokenCounts(*(rng.randrange(100) for _ in range(7))),
            tags=rng.choice(("", "a:1", "a:2,b:1")),
        )
        for _ in range(count)
    ]


def group_of(one: UsageEvent, names: tuple[str, ...], zone: str, tag: str = "") -> tuple[str | int, ...]:
    """Give the group of an event, by its clock."""
    where = zone_of(zone)
    day = number(at(one.started_ms, where).date())
    values: dict[str, Any] = {
        "hour": hour_ms(one.started_ms, where),
        "day": day,
        "month": day // 100,
        "tag": tag,
        "status": one.status,
        "team": one.team_id or "",
        "user": one.user_id or "",
        "service_account": one.service_account_id or "",
        "key": one.key_id,
        "model": one.model,
        "provider": one.provider,
        "deployment": one.deployment,
        "endpoint": one.endpoint,
    }
    return tuple(values[name] for name in names)


def totals(events: list[UsageEvent], names: tuple[str, ...], zone: str) -> dict[Any, tuple[int, ...]]:
    """Add up events by hand: requests, errors, all tokens, cost, time."""
    found: dict[Any, Counter[str]] = {}
    for one in events:
        for tag in one.tags.split(",") if "tag" in names else ("",):
            if "tag" in names and not tag:
                continue
            sums = found.setdefault(group_of(one, names, zone, tag), Counter())
            sums["requests"] += 1
            sums["errors"] += one.status >= 400
            sums["tokens"] += one.tokens.total
            sums["cost"] += one.cost_nano or 0
            sums["time"] += one.duration_ms
    return {
        group: tuple(sums[n] for n in ("requests", "errors", "tokens", "cost", "time"))
        for group, sums in found.items()
    }


def reported(rows: list[Any]) -> dict[Any, tuple[int, ...]]:
    """Give the same of a report."""
    return {
        row.group: (
            row.total_requests,
            row.errors,
            row.prompt_tokens + row.completion_tokens,
            row.cost_nano,
            row.duration_sum_ms,
        )
        for row in rows
    }


class RollupSuite:
    """Behaviour that both stores share."""

    store: Any
    assertEqual: Any
    patch: Any

    async def test_every_group_in_every_zone(self) -> None:
        """Sums by any of the groups are those of the rows, whatever the clocks of the organisation say."""
        rng = Random(5)
        for zone in ZONES:
            made = await self.store.create_org(org(timezone=zone))
            events = some_events(rng, 150, made.id, 40 * DAY)
            await self.store.commit_usage(zone, 1, events)
            base = UsageQuery(NOW - 41 * DAY, NOW + 1, (), (("org", made.id),), 10_000, zone, NOW)
            for _ in range(12):
                names = tuple(rng.sample((*NAMES, "tag", "day", "month"), rng.randrange(1, 4)))
                rows = await self.store.usage_report(evolve(base, group_by=names))
                self.assertEqual(reported(rows), totals(events, names, zone), (zone, names))

    async def test_time_zone_that_changes(self) -> None:
        """What was added up before keeps its days; nothing is counted twice or lost."""
        made = await self.store.create_org(org(timezone="UTC"))
        late = event(org_id=made.id, started_ms=NOW - NOW % DAY + 23 * HOUR - DAY)
        await self.store.commit_usage("s", 1, [late])
        await self.store.roll_up()

        def move() -> Any:
            yield Query("UPDATE organizations SET timezone = ? WHERE id = ?", ("Asia/Tokyo", made.id))

        await self.store.write(move)
        await self.store.commit_usage("s", 2, [event(org_id=made.id, started_ms=late.started_ms)])
        base = UsageQuery(NOW - 5 * DAY, NOW + 1, ("day",), (("org", made.id),), 10, "Asia/Tokyo", NOW)
        rows = await self.store.usage_report(base)
        self.assertEqual(sorted((r.group[0], r.total_requests) for r in rows), [(20261123, 1), (20261124, 1)])

    async def test_zone_that_is_unknown(self) -> None:
        """A time zone that this machine does not know is UTC, and stops nothing."""
        made = await self.store.create_org(org(timezone="Mars/Olympus"))
        await self.store.commit_usage("s", 1, [event(org_id=made.id)])
        (row,) = await self.store.usage_report(UsageQuery(0, NOW + 1, ("day",), zone="Mars/Olympus"))
        self.assertEqual((row.group, row.total_requests), ((20261124,), 1))

    async def test_tags_are_capped(self) -> None:
        """Of a day's tags only so many are told apart; the requests of the others count all the same."""
        self.patch(usage_roll, "MOST_TAGS", 3)
        events = [event(org_id="o", tags=f"run:{n}") for n in range(9)]
        await self.store.commit_usage("s", 1, events[:2])
        await self.store.roll_up()
        await self.store.commit_usage("s", 2, events[2:])
        tags = await self.store.usage_report(UsageQuery(0, NOW + 1, ("tag",)))
        self.assertEqual(len(tags), 3)
        (total,) = await self.store.usage_report(UsageQuery(0, NOW + 1))
        self.assertEqual(total.total_requests, 9)

    async def test_many_transactions(self) -> None:
        """Rows that wait are added up in pieces until none is left."""
        self.patch(usage_roll, "ROWS", 7)
        events = [event(org_id="o", started_ms=NOW - n * HOUR) for n in range(40)]
        await self.store.commit_usage("s", 1, events)
        (total,) = await self.store.usage_report(UsageQuery(0, NOW + 1))
        self.assertEqual(total.total_requests, 40)

    async def test_last_used(self) -> None:
        """The newest use of each key is kept with its rows, and an older one changes nothing."""
        moments = (("k", 5), ("k", 9), ("l", 3))
        await self.store.commit_usage("s", 1, [event(key_id=k, started_ms=NOW + n) for k, n in moments])
        await self.store.commit_usage("s", 2, [event(key_id="k", started_ms=NOW - 1)])

        def op() -> Any:
            rows = yield Query("SELECT key_id, last_used_ms FROM key_last_used ORDER BY key_id")
            return rows

        self.assertEqual([tuple(row) for row in await self.store.read(op)], [("k", NOW + 9), ("l", NOW + 3)])

    async def test_histograms(self) -> None:
        """Counts say how many values are in each span."""
        times = [3, 10, 99, 100, 101, 5000, 70_000]
        await self.store.commit_usage(
            "s", 1, [event(org_id="o", duration_ms=ms, ttft_ms=None) for ms in times]
        )
        (row,) = await self.store.usage_report(UsageQuery(0, NOW + 1, histograms=True))
        wanted = Counter(bucket(LATENCY_BOUNDS, ms) for ms in times)
        self.assertEqual({n: c for n, c in enumerate(row.counts[: len(LATENCY)]) if c}, wanted)
        self.assertEqual(sum(row.counts[len(LATENCY) : len(LATENCY) + 14]), 0)


class SQLiteRollupTests(RollupSuite, OnSQLite):
    """On SQLite."""


class PostgresRollupTests(RollupSuite, OnPostgres):
    """On PostgreSQL."""


class PropertyTests(SynchronousTestCase):
    """The same for whatever can be thought of, without threads."""

    @settings(max_examples=25, deadline=None)
    @given(
        st.integers(0, 1 << 30),
        st.sampled_from(ZONES),
        st.lists(st.sampled_from((*NAMES, "tag", "day", "hour", "month")), max_size=3, unique=True),
        st.integers(1, 60 * 24),
        st.integers(0, 60 * 24),
    )
    def test_any_span(self, seed: int, zone: str, names: list[str], hours: int, behind: int) -> None:
        """Whatever is asked for, a report has the sums of exactly the rows in the time it says it is of."""
        store = SQLiteStore(world(), MEMORY, inline=True)
        self.successResultOf(store.start())
        made = self.successResultOf(store.create_org(org(timezone=zone)))
        events = some_events(Random(seed), 60, made.id, 70 * DAY)
        for number_, start in enumerate(range(0, 60, 20)):
            self.successResultOf(store.commit_usage("s", number_ + 1, events[start : start + 20]))
            self.successResultOf(store.roll_up())
        until = NOW + 1 - behind * HOUR
        query = UsageQuery(until - hours * HOUR, until, tuple(names), (("org", made.id),), 10_000, zone, NOW)
        told_apart = True
        try:
            periods = cover_of(query)
        except Exception:
            # Some combinations have no hours.
            told_apart = False
        if told_apart:
            inside = [e for e in events if periods.since_ms <= e.started_ms < periods.until_ms]
            rows = self.successResultOf(store.usage_report(query))
            self.assertEqual(reported(rows), totals(inside, tuple(names), zone) if inside else {})
            self.assertTrue("hour" in names or periods.since_ms <= query.since_ms)
        self.successResultOf(store.stop())

    @given(st.lists(st.integers(0, 200_000), min_size=1, max_size=200), st.sampled_from((0.5, 0.95)))
    def test_quantiles_are_in_the_right_span(self, values: list[int], share: float) -> None:
        """An estimated quantile is in the span of the true one."""
        counts = [0] * (len(LATENCY_BOUNDS) + 1)
        for value in values:
            counts[bucket(LATENCY_BOUNDS, value)] += 1
        found = quantile(LATENCY_BOUNDS, counts, share)
        assert found is not None
        true = sorted(values)[min(len(values) - 1, -(-len(values) * int(share * 100) // 100) - 1)]
        place = bucket(LATENCY_BOUNDS, true)
        low = LATENCY_BOUNDS[place - 1] if place else 0
        high = LATENCY_BOUNDS[place] if place < len(LATENCY_BOUNDS) else 2 * LATENCY_BOUNDS[-1]
        self.assertTrue(low <= found <= high, (found, true))


class ShapeTests(SynchronousTestCase):
    """The tables are what the code takes them for."""

    def test_columns(self) -> None:
        """Sums and histograms have the columns that were agreed upon, and rows theirs."""
        store = SQLiteStore(world(), MEMORY, inline=True)
        self.successResultOf(store.start())

        def op() -> Any:
            rows = yield Query("SELECT name FROM pragma_table_info('usage_sums')")
            return [name for (name,) in rows]

        found = self.successResultOf(store.read(op))
        self.assertEqual(found, ["group_id", "period", "rollup", *SUMS, *BUCKETS])
        self.assertEqual(EVENT_COLUMNS[-1], ("tags", "text"))
        self.assertEqual(len({one.number for one in ROLLUPS}), len(ROLLUPS))
        self.successResultOf(store.stop())

    def test_zones_are_known(self) -> None:
        """The time zones of these tests are there, so that nothing is taken for UTC."""
        for zone in ZONES[1:]:
            self.assertEqual(zone_of(zone), ZoneInfo(zone))
        self.assertIn("day", PERIODS)
