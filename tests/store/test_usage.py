"""Usage: exactly once into rows and sums, and out again as reports, on both stores."""

from __future__ import annotations

from collections import Counter
from typing import Any

import ujson
from attrs import evolve, fields
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from tests.store.support import DAY, HOUR, NOW, OnPostgres, OnSQLite, event, new_id, world
from voidllm.core.errors import StoreRejected
from voidllm.core.usage import TokenCounts, UsageEvent
from voidllm.core.usage_line import LAYOUT, encode_line
from voidllm.store import usage_commit
from voidllm.store.records import ScopeUsage, UsageQuery
from voidllm.store.sqlite import MEMORY, SQLiteStore
from voidllm.store.statements import Query
from voidllm.store.usage_columns import EVENT_COLUMNS, day_of
from voidllm.store.usage_report import DIMENSIONS

ALL_TIME = UsageQuery(0, NOW + 400 * DAY)

#: Every column that may exist: a new one has to be thought about here, too.
COLUMNS = {
    *("day", "id", "request_id", "parent_id", "started_ms", "kind", "endpoint", "stream"),
    *("org_id", "team_id", "user_id", "service_account_id", "key_id", "key_type"),
    *("model", "requested_model", "deployment", "provider", "status", "error_code", "source"),
    *("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    *("audio_input_tokens", "audio_output_tokens", "cost_nano", "price_version", "duration_ms", "ttft_ms"),
    "tags",
}

FULL = event(
    parent_id="parent",
    team_id="team",
    user_id="user",
    service_account_id="sa",
    requested_model="alias",
    error_code="none",
    stream=True,
    tokens=TokenCounts(1, 2, 4, 8, 16, 32, 64),
    cost_nano=9_000_000_000_000_000,
    price_version="v1",
    ttft_ms=7,
    tags="project:a,x:b",
    model="größe ☃",
)


def select(sql: str) -> Any:
    """Make an operation of one statement."""

    def operation() -> Any:
        rows = yield Query(sql)
        return rows

    return operation


class UsageSuite:
    """Behaviour that both stores share."""

    store: Any
    patch: Any

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return list(await self.store._run(select(sql), write=False, repeatable=True))

    async def test_every_field_is_kept(self) -> None:
        """A row holds every field of its event, and there is no column for anything else."""
        bare = event(key_id="", org_id="", tokens=TokenCounts(), deployment="", status=401)
        self.assertEqual(await self.store.commit_usage("s", 10, [FULL, bare]), 2)
        names = [name for name, _ in EVENT_COLUMNS]
        self.assertEqual(set(names), COLUMNS)
        for wanted in (FULL, bare):
            (row,) = await self.rows(f"SELECT {', '.join(names)} FROM usage_events WHERE id = '{wanted.id}'")
            found = dict(zip(names, row, strict=True))
            self.assertEqual(found.pop("day"), 20261124)
            tokens = [found.pop(f"{field.name}_tokens") for field in fields(TokenCounts)]
            found["stream"] = bool(found["stream"])
            self.assertEqual(UsageEvent(**found, tokens=TokenCounts(*tokens)), wanted)

    async def test_tables_have_no_other_columns(self) -> None:
        """The table in the database has exactly the columns that were agreed upon."""
        self.assertEqual(set(await self.columns("usage_events")), COLUMNS)

    async def columns(self, table: str) -> list[str]:
        raise NotImplementedError

    async def test_repeats_change_nothing(self) -> None:
        """A repeated piece, a longer piece with the same events, and a shorter one count once."""
        events = [event() for _ in range(4)]
        self.assertEqual(await self.store.commit_usage("s", 100, events[:3]), 3)
        self.assertEqual(await self.store.commit_usage("s", 100, events[:3]), 0)
        self.assertEqual(await self.store.commit_usage("s", 60, [event()]), 0)
        self.assertEqual(await self.store.commit_usage("s", 130, events), 1)
        self.assertEqual(await self.store.commit_usage("t", 10, [events[0], events[0]]), 0)
        self.assertEqual(await self.store.journal_progress(), {"s": 130, "t": 10})
        (total,) = await self.store.usage_report(ALL_TIME)
        self.assertEqual((total.total_requests, total.prompt_tokens, total.completion_tokens), (4, 40, 20))
        await self.store.forget_segments(["s", "unknown"])
        self.assertEqual(await self.store.journal_progress(), {"t": 10})

    async def test_one_batch_with_doubles(self) -> None:
        """An event twice in one batch is one row and counts once."""
        one = event()
        self.assertEqual(await self.store.commit_usage("s", 1, [one, one]), 1)
        (total,) = await self.store.usage_report(ALL_TIME)
        self.assertEqual(total.total_requests, 1)

    async def test_failed_commit_leaves_nothing(self) -> None:
        """A batch with an impossible row is refused whole, progress included."""
        bad = event(duration_ms=1 << 70)
        with self.assertRaises(StoreRejected):
            await self.store.commit_usage("s", 10, [event(), bad])
        self.assertEqual(await self.store.journal_progress(), {})
        self.assertEqual(await self.store.usage_report(ALL_TIME), [])

    async def test_lines_of_other_lengths(self) -> None:
        """A line from before the last fields existed gets their defaults; what is behind them is ignored."""
        short, long = event(), event(stream=True, model="größe")
        required = sum(value.default is None and not value.optional for value in LAYOUT)
        lines = [
            ujson.dumps(ujson.loads(encode_line(short))[: required + 1]).encode(),
            ujson.dumps([*ujson.loads(encode_line(long)), {"later": 1}, None]).encode(),
            encode_line(FULL),
        ]
        self.assertEqual(await self.store.commit_lines("s", 10, lines), 3)
        sql = "SELECT id, model, source, team_id, stream, input_tokens, cost_nano FROM usage_events"
        self.assertEqual(
            {row[0]: row[1:] for row in await self.rows(sql)},
            {
                short.id: ("", "none", None, 0, 0, None),
                long.id: ("größe", "provider_final", None, 1, 10, None),
                FULL.id: ("größe ☃", "provider_final", "team", 1, 1, FULL.cost_nano),
            },
        )

    async def test_lines_that_cannot_be_rows(self) -> None:
        """A batch with a line that makes no row is refused whole, progress included."""
        good = encode_line(event())
        no_number = good.replace(b",200,", b',"two hundred",')
        for bad in (b"[1,", b"[1,5]", b"[1,5", b'[1,null,"x"]', b'[1,"x","y"]', b"[1,\xff]", no_number):
            with self.assertRaises(StoreRejected, msg=bad):
                await self.store.commit_lines("s", 10, [good, bad])
        self.assertEqual(await self.store.journal_progress(), {})
        self.assertEqual(await self.rows("SELECT id FROM usage_events"), [])
        await self.store.make_durable()
        self.assertEqual(await self.store.commit_lines("s", 10, [good, good]), 1)
        await self.store.make_durable()

    async def test_odd_texts_do_not_block(self) -> None:
        """A NUL or a lone surrogate in a text is replaced, so that its row can be committed."""
        odd = event(requested_model="a\0b\ud800", model="\ud83d")
        self.assertEqual(await self.store.commit_usage("s", 10, [odd, FULL]), 2)
        rows = await self.rows("SELECT requested_model, model FROM usage_events ORDER BY model")
        self.assertEqual(rows, [("a?b?", "?"), ("alias", "größe ☃")])

    async def test_large_batch(self) -> None:
        """A batch of more than one statement's rows is one transaction and complete."""
        events = [event(started_ms=NOW + n) for n in range(1203)]
        self.assertEqual(await self.store.commit_usage("s", 9, events), 1203)
        (total,) = await self.store.usage_report(ALL_TIME)
        self.assertEqual(total.total_requests, 1203)

    async def test_overlapping_batches_at_once(self) -> None:
        """Batches that share events in any order, committed at the same time, count each event once."""
        events = [event(started_ms=NOW + n % 7 * HOUR, model=f"m{n % 5}") for n in range(60)]
        pieces = [events[n : n + 40] for n in (0, 5, 10, 20)] + [events[::-1], events[::2]]
        self.patch(usage_commit, "SIZES", (7, 1))
        work = [self.store.commit_usage(f"s{n}", 1, piece) for n, piece in enumerate(pieces)]
        self.assertEqual(sum(await gatherResults(work)), 60)
        rows = await self.store.usage_report(evolve(ALL_TIME, group_by=("hour", "model")))
        wanted = Counter((e.started_ms - e.started_ms % HOUR, e.model) for e in events)
        self.assertEqual({row.group: row.total_requests for row in rows}, wanted)

    async def test_report_sums(self) -> None:
        """A report adds up every bucket, money, prices missing, durations and first tokens."""
        await self.store.commit_usage("s", 9, [FULL, evolve(FULL, id=new_id(), cost_nano=None, ttft_ms=None)])
        (row,) = await self.store.usage_report(evolve(ALL_TIME, group_by=("model", "status", "day", "hour")))
        self.assertEqual(row.group, ("größe ☃", 200, 20261124, NOW - NOW % HOUR))
        tokens = [getattr(row, f"{field.name}_tokens") for field in fields(TokenCounts)]
        self.assertEqual(tokens, [2, 4, 8, 16, 32, 64, 128])
        self.assertEqual((row.prompt_tokens, row.completion_tokens), (78, 176))
        self.assertEqual((row.cost_nano, row.unpriced_requests), (9_000_000_000_000_000, 1))
        self.assertEqual((row.duration_sum_ms, row.ttft_sum_ms, row.ttft_count), (80, 7, 1))

    async def test_refused_miss_no_price(self) -> None:
        """Only what was admitted can lack a price."""
        refused = event(status=404, deployment="", cost_nano=None, tokens=TokenCounts())
        await self.store.commit_usage("s", 9, [refused, event(cost_nano=None)])
        (row,) = await self.store.usage_report(ALL_TIME)
        self.assertEqual((row.total_requests, row.unpriced_requests), (2, 1))

    async def test_report_groups(self) -> None:
        """Every dimension groups, the most used comes first, and the limit cuts the rest."""
        events = [event(model="a", status=s) for s in (200, 200, 429)] + [event(model="b", team_id="t")]
        await self.store.commit_usage("s", 9, events)
        rows = await self.store.usage_report(evolve(ALL_TIME, group_by=("model", "status")))
        found = [(r.group, r.total_requests) for r in rows]
        self.assertEqual(found, [(("a", 200), 2), (("a", 429), 1), (("b", 200), 1)])
        rows = await self.store.usage_report(evolve(ALL_TIME, group_by=("team",), limit=1))
        self.assertEqual([(r.group, r.total_requests) for r in rows], [(("",), 3)])
        for name in DIMENSIONS.keys() - {"tag"}:
            rows = await self.store.usage_report(evolve(ALL_TIME, group_by=(name,)))
            self.assertEqual(sum(row.total_requests for row in rows), 4, name)

    async def test_report_filters(self) -> None:
        """A report may be narrowed to values, which are never part of the statement."""
        events = [event(org_id="a"), event(org_id="b"), event(org_id="b", status=500)]
        await self.store.commit_usage("s", 9, events)
        rows = await self.store.usage_report(evolve(ALL_TIME, where=(("org", "b"), ("status", 200))))
        self.assertEqual([row.total_requests for row in rows], [1])
        self.assertEqual(await self.store.usage_report(evolve(ALL_TIME, where=(("org", "' OR 1=1 --"),))), [])
        for bad in ({"group_by": ("org_id; DROP TABLE meta",)}, {"where": (("1=1", "x"),)}):
            with self.assertRaises(StoreRejected):
                await self.store.usage_report(evolve(ALL_TIME, **bad))

    async def test_report_interval(self) -> None:
        """Hours that overlap the interval count whole; its end does not belong to it."""
        hour = NOW - NOW % HOUR - 3 * HOUR
        events = [event(started_ms=ms) for ms in (hour - 1, hour, hour + HOUR - 1, hour + HOUR)]
        await self.store.commit_usage("s", 9, events)
        (row,) = await self.store.usage_report(UsageQuery(hour + 5, hour + HOUR))
        self.assertEqual(row.total_requests, 2)
        self.assertEqual(await self.store.usage_report(UsageQuery(hour + HOUR * 2, hour + HOUR * 3)), [])

    async def test_since_boundaries(self) -> None:
        """Day and month begin at midnight UTC, to the millisecond; every scope gets its own sum."""
        day = NOW - NOW % DAY
        month = day - 23 * DAY
        who = {"org_id": "o", "key_id": "k", "team_id": "t"}
        events = [event(started_ms=ms, **who) for ms in (month - 1, month, day - 1, day, NOW)]
        events += [event(started_ms=NOW, key_id="other", org_id="o")]
        await self.store.commit_usage("s", 9, events)
        found = {(u.kind, u.id): u for u in await self.store.usage_since(day, month)}
        self.assertEqual(
            found,
            {
                ("key", "k"): ScopeUsage("key", "k", 2, 30, 4, 60),
                ("key", "other"): ScopeUsage("key", "other", 1, 15, 1, 15),
                ("team", "t"): ScopeUsage("team", "t", 2, 30, 4, 60),
                ("org", "o"): ScopeUsage("org", "o", 3, 45, 5, 75),
                ("system", ""): ScopeUsage("system", "", 3, 45, 5, 75),
            },
        )

    async def test_since_on_the_first(self) -> None:
        """On the first of a month its day and the month begin together."""
        first = 1_796_083_200_000
        self.assertEqual([day_of(first - 1), day_of(first)], [20261130, 20261201])
        await self.store.commit_usage("s", 9, [event(started_ms=ms) for ms in (first - 1, first)])
        found = [u for u in await self.store.usage_since(first, first) if u.kind == "key"]
        self.assertEqual(found, [ScopeUsage("key", "key", 1, 15, 1, 15)])

    async def test_since_counts_admitted_only(self) -> None:
        """What reached no deployment was refused and counts against no limit; all else does."""
        refused = [event(status=s, deployment="", tokens=TokenCounts()) for s in (400, 404, 429, 499, 503)]
        admitted = [event(status=s, tokens=TokenCounts()) for s in (429, 499, 502, 504)]
        await self.store.commit_usage("s", 9, refused + admitted)
        found = {u.kind: u.day_requests for u in await self.store.usage_since(NOW - DAY, NOW - DAY)}
        self.assertEqual(found, {"key": 4, "org": 4, "system": 4})

    async def test_far_away_days(self) -> None:
        """Rows of any date, however wrong the clock was, are kept."""
        events = [event(started_ms=ms) for ms in (0, NOW - 500 * DAY, NOW + 3 * DAY, NOW + 4000 * DAY)]
        self.assertEqual(await self.store.commit_usage("s", 9, events), 4)
        self.assertEqual(await self.store.commit_usage("s", 19, events), 0)
        rows = await self.rows("SELECT day FROM usage_events ORDER BY day")
        self.assertEqual([day for (day,) in rows], [day_of(e.started_ms) for e in events])


class SQLiteUsageTests(UsageSuite, OnSQLite):
    """On SQLite."""

    async def columns(self, table: str) -> list[str]:
        return [name for (name,) in await self.rows(f"SELECT name FROM pragma_table_info('{table}')")]


class PostgresUsageTests(UsageSuite, OnPostgres):
    """On PostgreSQL."""

    async def columns(self, table: str) -> list[str]:
        sql = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
        return [name for (name,) in await self.rows(sql)]

    async def partitions(self) -> set[str]:
        sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_events'::regclass"
        rows = await self.rows(sql)
        return {name for (name,) in rows}

    async def test_partitions_ahead(self) -> None:
        """Days near today have a partition before their first row; far ones use the default."""
        made = await self.partitions()
        for day in (20261123, 20261124, 20261201):
            self.assertIn(f"usage_events_p{day}", made)
        await self.store.commit_usage("s", 9, [event(started_ms=NOW - 30 * DAY), event(started_ms=0)])
        self.assertEqual(await self.partitions() - made, {"usage_events_p20261025"})
        self.assertEqual(await self.rows("SELECT day FROM usage_events_default"), [(19700101,)])

    async def test_default_partition_is_a_safety_net(self) -> None:
        """A day whose rows are in the default partition already gets more rows there."""
        await self.store.commit_usage("s", 9, [event(started_ms=NOW - 500 * DAY)])
        self.store._world = world(wall_ms=lambda: NOW - 480 * DAY)
        self.assertEqual(await self.store.commit_usage("t", 9, [event(started_ms=NOW - 500 * DAY)]), 1)
        self.assertEqual(await self.rows("SELECT count(*) FROM usage_events_default"), [(2,)])


class LedgerTests(SynchronousTestCase):
    """The accounting as a property, on the same SQL without threads."""

    @settings(max_examples=60)
    @given(st.data())
    def test_any_interleaving_is_the_set_of_events(self, data: st.DataObject) -> None:
        """Batches repeated, cut and shuffled in any way count every event exactly once."""
        events = [event(model="m" + str(n % 3), started_ms=NOW + n * HOUR // 2) for n in range(12)]
        store = SQLiteStore(world(), MEMORY, inline=True)
        self.successResultOf(store.start())
        piece = st.tuples(st.sampled_from("ab"), st.integers(1, 12), st.integers(0, 11))
        ends: Counter[str] = Counter()
        seen: set[str] = set()
        for segment, end, start in data.draw(st.lists(piece, max_size=12)):
            batch = events[start:end]
            inserted = self.successResultOf(store.commit_usage(segment, end, batch))
            new = {e.id for e in batch} - seen if end > ends[segment] else set()
            self.assertEqual(inserted, len(new))
            seen |= new
            ends[segment] = max(ends[segment], end)
        rows = self.successResultOf(store.usage_report(evolve(ALL_TIME, group_by=("model", "hour"))))
        wanted = Counter((e.model, e.started_ms - e.started_ms % HOUR) for e in events if e.id in seen)
        self.assertEqual({row.group: row.total_requests for row in rows}, wanted)
        self.assertEqual(self.successResultOf(store.journal_progress()), dict(ends))
        self.successResultOf(store.stop())
