"""Questions about usage, answered from the hourly sums only."""

from __future__ import annotations

from typing import Mapping

from voidllm.core.errors import StoreRejected
from voidllm.store.records import ScopeUsage, UsageQuery, UsageRow
from voidllm.store.statements import Op, q
from voidllm.store.usage_columns import HOURLY_SUMS, TOKEN_SUMS

_HOUR_MS = 3_600_000

#: What reports may be grouped and filtered by, and the column that holds it.
DIMENSIONS: Mapping[str, str] = {
    "model": "model",
    "status": "status",
    "key": "key_id",
    "team": "team_id",
    "org": "org_id",
    "user": "user_id",
    "service_account": "service_account_id",
    "provider": "provider",
    "deployment": "deployment",
    "endpoint": "endpoint",
    "kind": "kind",
    "hour": "hour_ms",
    "day": "day",
    "source": "source",
}

_SCOPES = {"key": "key_id", "team": "team_id", "org": "org_id"}

#: Rows of one page of :func:`usage_since`; they are short, and each page is a new aggregation.
_SCOPE_PAGE = 2000

_MAX_ROWS = 10_001

# PostgreSQL adds bigints up to a numeric; the cast keeps integers integers in both.
_SUMS = ", ".join(f"CAST(sum({name}) AS bigint)" for name in HOURLY_SUMS)
_TOKENS = " + ".join(TOKEN_SUMS)

# What was admitted has a deployment, however it ended; what was refused was counted by no limit.
_ADMITTED = "deployment <> ''"


def usage_report(query: UsageQuery) -> Op[list[UsageRow]]:
    """Add up the hours of ``query``.

    :raises StoreRejected: if it names a dimension that is not in :data:`DIMENSIONS`.
    """
    columns = [_column(name) for name in query.group_by]
    where = "".join(f" AND {_column(name)} = ?" for name, _ in query.where)
    selected = "".join(f"{column}, " for column in columns)
    order = ", ".join(["sum(requests) DESC", *columns])
    grouped = f" GROUP BY {', '.join(columns)}" if columns else ""
    rows = yield q(
        f"SELECT {selected}{_SUMS} FROM usage_hourly WHERE hour_ms >= ? AND hour_ms < ?{where}{grouped}"  # noqa: S608
        f" ORDER BY {order} LIMIT ?",
        query.since_ms - query.since_ms % _HOUR_MS,
        query.until_ms,
        *(value for _, value in query.where),
        max(1, min(query.limit, _MAX_ROWS)),
    )
    width = len(columns)
    # Ungrouped sums over no rows are one row of NULLs.
    return [UsageRow(row[:width], *row[width:]) for row in rows if row[width] is not None]


def usage_since(day_start_ms: int, month_start_ms: int) -> Op[list[ScopeUsage]]:
    """Add up what every key, team and organisation used since two UTC midnights.

    The month may have begun before the day or at the same moment, never after it.
    """
    found: list[ScopeUsage] = []
    for kind, column in _SCOPES.items():
        after = ""
        while True:
            rows = yield q(
                f"SELECT {column},"  # noqa: S608
                " CAST(sum(CASE WHEN hour_ms >= ? THEN requests ELSE 0 END) AS bigint),"
                f" CAST(sum(CASE WHEN hour_ms >= ? THEN {_TOKENS} ELSE 0 END) AS bigint),"
                f" CAST(sum(requests) AS bigint), CAST(sum({_TOKENS}) AS bigint)"
                f" FROM usage_hourly WHERE hour_ms >= ? AND {column} > ? AND {_ADMITTED}"
                f" GROUP BY {column} ORDER BY {column} LIMIT ?",
                day_start_ms,
                day_start_ms,
                month_start_ms,
                after,
                _SCOPE_PAGE,
            )
            found += [ScopeUsage(kind, *row) for row in rows]
            if len(rows) < _SCOPE_PAGE:
                break
            after = rows[-1][0]
    return found


def _column(name: str) -> str:
    try:
        return DIMENSIONS[name]
    except KeyError:
        raise StoreRejected("usage cannot be grouped or filtered by that") from None
