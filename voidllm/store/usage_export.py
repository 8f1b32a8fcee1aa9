"""Usage rows themselves, page by page in the order of their days and ids."""

from __future__ import annotations

from typing import Any, Sequence

from voidllm.core.errors import StoreRejected
from voidllm.core.usage_line import LAYOUT
from voidllm.store.statements import PAGE, Op, Rows, q
from voidllm.store.usage_columns import day_of
from voidllm.store.usage_report import DIMENSIONS, PERIODS

#: The columns of a row, in their order.
COLUMNS = tuple(value.name for value in LAYOUT)

_ID = COLUMNS.index("id")

#: After which row a page begins: its day and its id.
After = tuple[int, str]


def events(
    since_ms: int,
    until_ms: int,
    where: Sequence[tuple[str, str | int | tuple[str | int, ...]]],
    after: After | None,
) -> Op[tuple[Rows, After | None]]:
    """Read one page of rows, and give where the next one begins, ``None`` behind the last.

    :param where: as in :class:`~voidllm.store.records.UsageQuery`.
    """
    conditions = ["started_ms >= ?", "started_ms < ?", "day >= ?", "day <= ?"]
    values: list[Any] = [since_ms, until_ms, day_of(max(0, since_ms)), day_of(max(0, until_ms - 1))]
    for name, wanted in where:
        several = wanted if isinstance(wanted, tuple) else (wanted,)
        if name in PERIODS or name not in DIMENSIONS:
            raise StoreRejected("usage cannot be filtered by that")
        if name == "tag":
            conditions.append(" OR ".join(["',' || tags || ',' LIKE ? ESCAPE '!'"] * len(several)))
            values += [f"%,{_plain(str(one))},%" for one in several]
        else:
            column = DIMENSIONS[name]
            conditions.append(f"{column} IN ({', '.join('?' * len(several))})")
            values += several
    if after is not None:
        conditions.append("(day, id) > (?, ?)")
        values += after
    rows = yield q(
        f"SELECT day, {', '.join(COLUMNS)} FROM usage_events"  # noqa: S608
        f" WHERE {' AND '.join(f'({one})' for one in conditions)} ORDER BY day, id LIMIT {PAGE}",
        *values,
    )
    following = (rows[-1][0], rows[-1][1 + _ID]) if len(rows) == PAGE else None
    return [row[1:] for row in rows], following


def _plain(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
