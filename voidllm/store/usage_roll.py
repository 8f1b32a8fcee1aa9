"""Events that are stored but not yet added up go into the roll-ups, in one transaction with their mark.

A commit only marks what it has inserted, so boxes that share a database never wait for each
other's sums, and many events of one group cost one row. Reports call for this first.
"""

from __future__ import annotations

from functools import cache
from typing import Sequence

import ujson

from voidllm.core.usage_cover import HOURS_KEPT_MS
from voidllm.core.usage_days import DAY_MS, HOUR_MS, spans
from voidllm.core.usage_histogram import LATENCY_BOUNDS, SPEED_BOUNDS, TTFT_BOUNDS
from voidllm.store.dialect import Dialect
from voidllm.store.partitions import AHEAD_DAYS, PAST_DAYS
from voidllm.store.statements import Op, Query, q
from voidllm.store.usage_rollups import (
    BUCKETS,
    DAY,
    GROUP,
    HOUR,
    LATENCY,
    PLAIN,
    ROLLUPS,
    SPEED,
    SUMS,
    TOKENS,
    TTFT,
    Rollup,
)

#: Events of one transaction.
ROWS = 8192

#: Tags of one organisation and day that are told apart.
MOST_TAGS = 1000

#: Held by whoever adds up, on PostgreSQL.
LOCK = 0x766F_6964_726F_6C
# Hours are dropped by the day, so those of a day that is about to go are not worth making.
_HOURS_MS = HOURS_KEPT_MS + 2 * DAY_MS

_FRESH = "usage_pending p JOIN usage_events e ON e.day = p.day AND e.id = p.id"
_TAKEN = "p.taken = 1"


def pending() -> Op[bool]:
    """Say whether anything waits."""
    rows = yield Query("SELECT 1 FROM usage_pending LIMIT 1")
    return bool(rows)


def roll(dialect: Dialect, now_ms: int, rows: int) -> Op[int]:
    """Add up events that wait.

    :returns: how many were; fewer than ``rows`` if none are left.
    """
    if dialect.name == "postgres":
        yield Query(f"SELECT pg_advisory_xact_lock({LOCK})")
    yield Query(
        "UPDATE usage_pending SET taken = 1 WHERE (day, id) IN"
        " (SELECT day, id FROM usage_pending ORDER BY day, id LIMIT ?)",
        (rows,),
    )
    ((count, tagged),) = yield Query(
        f"SELECT count(*), coalesce(max(CASE WHEN e.tags <> '' THEN 1 ELSE 0 END), 0)"  # noqa: S608
        f" FROM {_FRESH} WHERE {_TAKEN}"
    )
    if count:
        local = yield from _local(now_ms)
        if tagged:
            yield Query(_tags_insert(dialect.name), (local, MOST_TAGS))
        with_tags = bool(tagged)
        yield Query(_groups_insert(dialect.name, with_tags))
        yield Query(_sums_insert(dialect.name, with_tags), (local, now_ms - _HOURS_MS))
        yield Query(_COUNTED)
    yield Query("DELETE FROM usage_pending AS p WHERE p.taken = 1")
    return int(count)


def _local(now_ms: int) -> Op[str]:
    """Give, as JSON, where days and offsets change in the time zones of organisations."""
    zones = yield q("SELECT DISTINCT timezone FROM organizations WHERE timezone <> 'UTC'")
    if not zones:
        return "[]"
    moments = yield Query(
        f"SELECT DISTINCT e.started_ms / {DAY_MS} FROM {_FRESH} WHERE {_TAKEN}"  # noqa: S608
    )
    today = now_ms // DAY_MS
    # A wrong clock must not make us look at the calendars of centuries.
    days = [day for (day,) in moments if today - PAST_DAYS <= day <= today + AHEAD_DAYS]
    return ujson.dumps([[zone, *span] for (zone,) in zones for day in days for span in spans(zone, day)])


# -- statements


def _dimension(name: str) -> str:
    optional = name in ("team_id", "user_id", "service_account_id")
    return f"coalesce(e.{name}, '') AS {name}" if optional else f"e.{name}"


def _place(value: str, bounds: Sequence[int], first: int = 0) -> str:
    """Write the search for a value's span as nested conditions, a handful of comparisons deep."""
    if not bounds:
        return str(first)
    middle = len(bounds) // 2
    low = _place(value, bounds[:middle], first)
    high = _place(value, bounds[middle + 1 :], first + middle + 1)
    return f"CASE WHEN {value} < {bounds[middle]} THEN {low} ELSE {high} END"


_WRITTEN = "(e.output_tokens + e.reasoning_tokens + e.audio_output_tokens)"
_WRITING_MS = "(e.duration_ms - coalesce(e.ttft_ms, 0))"
_HAS_SPEED = f"e.status < 400 AND {_WRITTEN} > 0 AND {_WRITING_MS} > 0"
_SPEED_VALUE = f"({_WRITTEN} * 1000 / {_WRITING_MS})"
_ERROR = "CASE WHEN e.status >= 400 THEN 1 ELSE 0 END"
_UNPRICED = "CASE WHEN e.cost_nano IS NULL AND e.deployment <> '' THEN 1 ELSE 0 END"

#: What an event adds to each of :data:`SUMS`.
_ADDS = {
    "requests": "1",
    "errors": _ERROR,
    "cost_nano": "coalesce(e.cost_nano, 0)",
    "unpriced_requests": _UNPRICED,
    "duration_sum_ms": "e.duration_ms",
    "ttft_sum_ms": "coalesce(e.ttft_ms, 0)",
    "ttft_count": "CASE WHEN e.ttft_ms IS NULL THEN 0 ELSE 1 END",
    "speed_tokens": f"CASE WHEN {_HAS_SPEED} THEN {_WRITTEN} ELSE 0 END",
    "speed_sum_ms": f"CASE WHEN {_HAS_SPEED} THEN {_WRITING_MS} ELSE 0 END",
}

_ALL = ", ".join((*SUMS, *BUCKETS))


def _local_table(dialect: str) -> str:
    """Give the common table that the JSON of :func:`_local` becomes."""
    columns = ("zone", "from_ms", "until_ms", "offset_ms", "local_day")
    if dialect == "postgres":
        kinds = ("text", "bigint", "bigint", "bigint", "int")
        values = ", ".join(f"(r->>{n})::{kind}" for n, kind in enumerate(kinds))
        source = "jsonb_array_elements(?::jsonb) AS r"
    else:
        values = ", ".join(f"json_extract(value, '$[{n}]')" for n in range(len(columns)))
        source = "json_each(?)"
    return f"local ({', '.join(columns)}) AS MATERIALIZED (SELECT {values} FROM {source})"  # noqa: S608


_LOCALLY = (
    f"{_FRESH} LEFT JOIN organizations o ON o.id = e.org_id LEFT JOIN local l ON l.zone = o.timezone"
    " AND l.from_ms <= e.started_ms AND e.started_ms < l.until_ms"
)
_LOCAL_DAY = "coalesce(l.local_day, e.day)"


def _split_tags(dialect: str) -> str:
    """Give the join that makes a row of each tag, as ``t.value``."""
    if dialect == "postgres":
        return "CROSS JOIN LATERAL unnest(string_to_array(e.tags, ',')) AS t (value)"
    return """CROSS JOIN json_each('["' || replace(e.tags, ',', '","') || '"]') AS t"""


@cache
def _tags_insert(dialect: str) -> str:
    return (
        f"WITH {_local_table(dialect)}, found AS (SELECT DISTINCT e.org_id AS org_id, {_LOCAL_DAY} AS day,"  # noqa: S608
        f" t.value AS tag FROM {_LOCALLY} {_split_tags(dialect)} WHERE {_TAKEN} AND e.tags <> ''),"
        " fresh AS (SELECT f.*, row_number() OVER (PARTITION BY f.org_id, f.day ORDER BY f.tag) AS place"
        " FROM found f WHERE NOT EXISTS (SELECT 1 FROM usage_tags u WHERE u.org_id = f.org_id"
        " AND u.day = f.day AND u.tag = f.tag))"
        " INSERT INTO usage_tags (org_id, day, tag) SELECT f.org_id, f.day, f.tag FROM fresh f WHERE"
        " f.place + (SELECT count(*) FROM usage_tags u WHERE u.org_id = f.org_id AND u.day = f.day) <= ?"
        " ON CONFLICT DO NOTHING"
    )


def _wanted(tags: bool) -> tuple[Rollup, ...]:
    return tuple(one for one in ROLLUPS if tags or "tag" not in one.columns)


def _as_group(rollup: Rollup, alias: str) -> str:
    """Give the columns of ``usage_groups`` for a row of a roll-up."""
    values = [str(rollup.number)]
    for name in GROUP:
        none = "0" if name == "status" else "''"
        values.append(f"{alias}.{name}" if name in rollup.columns else none)
    return ", ".join(values)


@cache
def _groups_insert(dialect: str, tags: bool) -> str:
    names = ", ".join(("rollup", *GROUP))
    columns = ", ".join(_dimension(name) for name, _ in PLAIN)
    common = [f"detail AS MATERIALIZED (SELECT DISTINCT {columns}, '' AS tag FROM {_FRESH} WHERE {_TAKEN})"]  # noqa: S608
    if tags:
        common.append(
            f"tag AS MATERIALIZED (SELECT DISTINCT {columns}, t.value AS tag FROM {_FRESH}"  # noqa: S608
            f" {_split_tags(dialect)} WHERE {_TAKEN} AND e.tags <> '')"
        )
    parts = []
    for one in _wanted(tags):
        source = "tag" if "tag" in one.columns else "detail"
        parts.append(f"SELECT DISTINCT {_as_group(one, 'd')} FROM {source} d")  # noqa: S608
    return (
        f"WITH {', '.join(common)} INSERT INTO usage_groups ({names})"  # noqa: S608
        f" SELECT * FROM ({' UNION ALL '.join(parts)}) AS found WHERE true ON CONFLICT DO NOTHING"
    )


@cache
def _sums_insert(dialect: str, tags: bool) -> str:
    dimensions = ", ".join(_dimension(name) for name, _ in PLAIN)
    adds = ", ".join(f"{_ADDS.get(name, f'e.{name}')} AS {name}" for name in SUMS)
    latency = _place("e.duration_ms", LATENCY_BOUNDS)
    ttft = f"CASE WHEN e.ttft_ms IS NOT NULL THEN {_place('e.ttft_ms', TTFT_BOUNDS)} END"
    speed = f"CASE WHEN {_HAS_SPEED} THEN {_place(_SPEED_VALUE, SPEED_BOUNDS)} END"
    started = "(e.started_ms + coalesce(l.offset_ms, 0))"
    common = [
        _local_table(dialect),
        f"fresh AS MATERIALIZED (SELECT {dimensions}, e.tags, {_LOCAL_DAY} AS day,"  # noqa: S608
        f" e.started_ms - {started} % {HOUR_MS} AS hour, {adds},"
        f" {latency} AS latency, {ttft} AS ttft, {speed} AS speed FROM {_LOCALLY} WHERE {_TAKEN})",
    ]
    parts = []
    for one in reversed(_wanted(tags)):
        common.append(f"c_{one.name} AS MATERIALIZED ({_added_up(dialect, one)})")
        parts.append(f"SELECT {_as_group(one, 'r')}, r.hour, r.day, {_ALL} FROM c_{one.name} r")  # noqa: S608
    named = ", ".join(("rollup", *GROUP, "hour", "day", *SUMS, *BUCKETS))
    grains = ", ".join(f"({one.number}, '{grain}')" for one in _wanted(tags) for grain in sorted(one.grains))
    period = f"CASE x.grain WHEN '{HOUR}' THEN r.hour WHEN '{DAY}' THEN r.day ELSE r.day / 100 END"
    same = " AND ".join(f"g.{name} = r.{name}" for name in ("rollup", *GROUP))
    sums, grouped = ", ".join(f"r.{name}" for name in (*SUMS, *BUCKETS)), ""
    if dialect == "postgres":
        # It refuses to update a row twice in one statement; SQLite does, and is spared the sorting.
        sums = ", ".join(f"sum(r.{name})" for name in (*SUMS, *BUCKETS))
        grouped = " GROUP BY 1, 2, 3 ORDER BY 1, 2"
    grown = ", ".join(f"{name} = s.{name} + excluded.{name}" for name in SUMS)
    filled = ", ".join(
        f"{name} = coalesce(s.{name} + excluded.{name}, s.{name}, excluded.{name})" for name in BUCKETS
    )
    return (
        f"WITH {', '.join(common)}, r ({named}) AS ({' UNION ALL '.join(parts)}),"  # noqa: S608
        f" x (rollup, grain) AS (VALUES {grains})"
        f" INSERT INTO usage_sums AS s (group_id, period, rollup, {_ALL})"
        f" SELECT g.id, {period}, g.rollup, {sums} FROM r CROSS JOIN usage_groups g CROSS JOIN x"
        f" WHERE {same} AND x.rollup = r.rollup AND (x.grain <> '{HOUR}' OR r.hour >= ?){grouped}"
        f" ON CONFLICT (group_id, period) DO UPDATE SET {grown}, {filled}"
    )


def _added_up(dialect: str, rollup: Rollup) -> str:
    """Write the sums of a roll-up by hours."""
    columns = ", ".join((*rollup.columns, "day", "hour"))
    if rollup.of is not None:
        sums = ", ".join(_sum(dialect, name) for name in (*SUMS, *BUCKETS))
        return f"SELECT {columns}, {sums} FROM c_{rollup.of} GROUP BY {columns}"  # noqa: S608
    sums = ", ".join(_sum(dialect, name) for name in SUMS)
    counts = ", ".join(
        f"sum(1) FILTER (WHERE {name} = {place}) AS {bucket}"
        for name, buckets in (("latency", LATENCY), ("ttft", TTFT), ("speed", SPEED))
        for place, bucket in enumerate(buckets)
    )
    if rollup.name == "detail":
        return f"SELECT {columns}, {sums}, {counts} FROM fresh GROUP BY {columns}"  # noqa: S608
    plain = [f"e.{name}" for name, _ in PLAIN]
    selected = ", ".join((*plain, "t.value AS tag", "e.day", "e.hour"))
    grouped = ", ".join((*plain, "t.value", "e.day", "e.hour"))
    return (
        f"SELECT {selected}, {sums}, {counts} FROM fresh e {_split_tags(dialect)}"  # noqa: S608
        " JOIN usage_tags u ON u.org_id = e.org_id AND u.day = e.day AND u.tag = t.value"
        f" WHERE e.tags <> '' GROUP BY {grouped}"
    )


def _sum(dialect: str, name: str) -> str:
    # PostgreSQL adds bigints up to a numeric, which costs several times as much to add up again.
    return f"sum({name})::bigint AS {name}" if dialect == "postgres" else f"sum({name}) AS {name}"


_COUNTED = (
    "INSERT INTO usage_counted AS c (day, org_id, team_id, key_id, requests, tokens)"  # noqa: S608
    f" SELECT e.day, e.org_id, coalesce(e.team_id, ''), e.key_id, count(*), sum({' + '.join(TOKENS)})"
    f" FROM {_FRESH} WHERE {_TAKEN} AND e.deployment <> '' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    " ON CONFLICT (day, org_id, team_id, key_id) DO UPDATE SET"
    " requests = c.requests + excluded.requests, tokens = c.tokens + excluded.tokens"
)
