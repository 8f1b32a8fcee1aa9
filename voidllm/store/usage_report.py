"""Questions about usage, answered from roll-ups only.

What is asked for is cut into whole periods (:mod:`voidllm.core.usage_cover`); for each kind of
them the smallest roll-up is taken that tells the wanted things apart.
"""

from __future__ import annotations

from typing import Mapping, Sequence

from attrs import astuple

from voidllm.core.errors import StoreRejected
from voidllm.core.usage_cover import Cover, Piece, cover, cover_hours
from voidllm.core.usage_days import zone_of
from voidllm.store.records import ScopeUsage, UsageQuery, UsageRow
from voidllm.store.statements import Op, Query, q, storable
from voidllm.store.usage_columns import day_of
from voidllm.store.usage_rollups import (
    BUCKETS,
    DAY,
    GROUP,
    HOUR,
    MONTH,
    SUMS,
    months_for,
    rollup_for,
)

#: What reports may be grouped and filtered by, and the column that holds it.
DIMENSIONS: Mapping[str, str] = {
    **{name.removesuffix("_id"): name for name in GROUP},
    "hour": "hour",
    "day": "day",
    "month": "month",
}

#: Those that are periods: they can be grouped by.
PERIODS = ("hour", "day", "month")

_SCOPES = {"key": "key_id", "team": "team_id", "org": "org_id"}

#: Rows of one page of :func:`usage_since`; they are short.
_SCOPE_PAGE = 2000

_MAX_ROWS = 10_001


def cover_of(query: UsageQuery) -> Cover:
    """Say which periods a question is about.

    :raises StoreRejected: if the calendar does not have them, or for an unknown dimension.
    """
    zone = zone_of(query.zone)
    names = (*query.group_by, *(name for name, _ in query.where))
    columns = tuple(name for name in map(_column, names) if name not in PERIODS)
    try:
        if "hour" in query.group_by:
            if rollup_for(columns, HOUR) is None:
                raise StoreRejected("usage is not told apart like that by hours")
            by_day = "day" in query.group_by or "month" in query.group_by
            return cover_hours(query.since_ms, query.until_ms, query.now_ms, zone, by_day=by_day)
        return cover(
            query.since_ms,
            query.until_ms,
            query.now_ms,
            zone,
            hours=rollup_for(columns, HOUR) is not None,
            months="day" not in query.group_by and months_for(columns),
        )
    except (OverflowError, ValueError):
        raise StoreRejected("usage of such a time cannot be told") from None


def usage_report(query: UsageQuery) -> Op[list[UsageRow]]:
    """Add up what ``query`` asks for.

    :raises StoreRejected: if it names a dimension that is not in :data:`DIMENSIONS`.
    """
    if any(name in PERIODS for name, _ in query.where):
        raise StoreRejected("usage cannot be filtered by that")
    periods = cover_of(query)
    groups = [_column(name) for name in query.group_by]
    numbers = (*SUMS, *BUCKETS) if query.histograms else SUMS
    parts: list[str] = []
    values: list[object] = []
    for grain, pieces in ((HOUR, periods.hours), (DAY, periods.days), (MONTH, periods.months)):
        for piece in pieces:
            text, more = _part(query, groups, numbers, grain, piece)
            parts.append(text)
            values += more
    if not parts:
        return []
    # PostgreSQL adds bigints up to a numeric; the cast keeps integers integers in both.
    sums = ", ".join(f"CAST(sum({name}) AS bigint)" for name in numbers)
    selected = "".join(f"g_{name}, " for name in groups)
    grouped = f" GROUP BY {', '.join(f'g_{name}' for name in groups)}" if groups else ""
    order = ", ".join(["sum(requests) DESC", *(f"g_{name}" for name in groups)])
    source = " UNION ALL ".join(parts)
    rows = yield Query(
        f"SELECT {selected}{sums} FROM ({source}) AS found{grouped} ORDER BY {order} LIMIT ?",  # noqa: S608
        (*values, max(1, min(query.limit, _MAX_ROWS))),
    )
    width, behind = len(groups), len(groups) + len(SUMS)
    # Ungrouped sums over no rows are one row of NULLs.
    found = [row for row in rows if row[width] is not None]
    return [
        UsageRow(*(row[:width], *row[width:behind], tuple(count or 0 for count in row[behind:])))
        for row in found
    ]


def _part(
    query: UsageQuery, groups: Sequence[str], numbers: Sequence[str], grain: str, piece: Piece
) -> tuple[str, list[object]]:
    """Write the sums of one row of periods, and give its parameters."""
    filters = [(_column(name), wanted) for name, wanted in query.where]
    told = {name for name in groups if name not in PERIODS} | {name for name, _ in filters}
    rollup = rollup_for(told, grain)
    assert rollup is not None
    conditions = ["g.rollup = ?"]
    values: list[object] = [rollup.number]
    for column, wanted in filters:
        several = wanted if isinstance(wanted, tuple) else (wanted,)
        if not all(storable(one) for one in several if isinstance(one, str)):
            raise StoreRejected("a text holds a character that cannot be stored")
        conditions.append(f"g.{column} IN ({', '.join('?' * len(several))})")
        values += several
    period = {
        "hour": "s.period",
        "day": str(piece.day) if grain == HOUR else "s.period",
        "month": {HOUR: str(piece.day // 100), DAY: "s.period / 100"}.get(grain, "s.period"),
    }
    selected = [f"{period[name] if name in PERIODS else f'g.{name}'} AS g_{name}" for name in groups]
    sums = [f"sum(s.{name}) AS {name}" for name in numbers]
    places = ", ".join(str(place) for place in range(1, len(groups) + 1))
    grouped = f" GROUP BY {places}" if places else ""
    return (
        f"SELECT {', '.join([*selected, *sums])} FROM usage_groups g JOIN usage_sums s ON s.group_id = g.id"  # noqa: S608
        f" AND s.rollup = g.rollup WHERE {' AND '.join(conditions)}"
        f" AND s.period >= ? AND s.period <= ?{grouped}",
        [*values, piece.first, piece.last],
    )


def usage_since(day_start_ms: int, month_start_ms: int) -> Op[list[ScopeUsage]]:
    """Add up what every key, team and organisation, and all of them, used since two UTC midnights.

    The month may have begun before the day or at the same moment, never after it.
    """
    day, month = day_of(day_start_ms), day_of(month_start_ms)
    found: list[ScopeUsage] = []
    for kind, column in _SCOPES.items():
        after = ""
        while True:
            rows = yield q(
                f"SELECT {column},"  # noqa: S608
                " CAST(sum(CASE WHEN day >= ? THEN requests ELSE 0 END) AS bigint),"
                " CAST(sum(CASE WHEN day >= ? THEN tokens ELSE 0 END) AS bigint),"
                " CAST(sum(requests) AS bigint), CAST(sum(tokens) AS bigint)"
                f" FROM usage_counted WHERE day >= ? AND {column} > ?"
                f" GROUP BY {column} ORDER BY {column} LIMIT ?",
                day,
                day,
                month,
                after,
                _SCOPE_PAGE,
            )
            found += [ScopeUsage(kind, *row) for row in rows]
            if len(rows) < _SCOPE_PAGE:
                break
            after = rows[-1][0]
    # Everything is some organisation's.
    orgs = [used for used in found if used.kind == "org"]
    if orgs:
        totals = [sum(numbers) for numbers in zip(*(astuple(used)[2:] for used in orgs), strict=True)]
        found.append(ScopeUsage("system", "", *totals))
    return found


def _column(name: str) -> str:
    try:
        return DIMENSIONS[name]
    except KeyError:
        raise StoreRejected("usage cannot be grouped or filtered by that") from None
