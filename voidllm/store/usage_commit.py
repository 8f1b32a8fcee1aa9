"""Usage events into rows and sums, exactly once."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Iterable, Sequence

import ujson

from voidllm.core.usage import UsageEvent
from voidllm.store.dialect import Dialect
from voidllm.store.statements import PAGE, Op, q, storable
from voidllm.store.usage_columns import (
    EVENT_COLUMNS,
    HOURLY_KEY,
    HOURLY_SUMS,
    event_row,
    hourly_key,
    hourly_sums,
)

# No row comes back when the segment is already committed that far; with one, the row is
# locked until the end of the transaction, so the same piece cannot be committed twice at once.
_ADVANCE = (
    "INSERT INTO journal_progress AS p (segment, end_offset) VALUES (?, ?)"
    " ON CONFLICT (segment) DO UPDATE SET end_offset = excluded.end_offset"
    " WHERE p.end_offset < excluded.end_offset RETURNING end_offset"
)

_HOURLY = (*HOURLY_KEY, *((name, "int") for name in HOURLY_SUMS))
_HOURLY_NAMES = [name for name, _ in _HOURLY]

Sums = dict[tuple[Any, ...], list[int]]

_by_id = attrgetter("id")


def commit_usage(dialect: Dialect, segment: str, end_offset: int, events: Sequence[UsageEvent]) -> Op[int]:
    """Insert ``events``, add the really new ones to the hourly sums, and note the progress.

    :returns: how many rows were new.
    """
    if not (yield q(_ADVANCE, segment, end_offset)):
        return 0
    # By id, so that two transactions with the same events cannot lock each other out.
    ordered = sorted({event.id: event for event in events}.values(), key=_by_id)
    sums: Sums = {}
    inserted = 0
    for start in range(0, len(ordered), PAGE):
        piece = {event.id: event for event in ordered[start : start + PAGE]}
        rows = yield q(_insert_events(dialect), to_json([event_row(event) for event in piece.values()]))
        inserted += len(rows)
        for (event_id,) in rows:
            _add(sums, piece[event_id])
    # All at the end and in their order, because other boxes add to the same rows.
    keys = sorted(sums)
    for start in range(0, len(keys), PAGE):
        added = [_hourly_row(key, sums[key]) for key in keys[start : start + PAGE]]
        yield q(_add_hourly(dialect), to_json(added))
    return inserted


def journal_progress() -> Op[dict[str, int]]:
    """Read how far each segment has been committed."""
    rows = yield q("SELECT segment, end_offset FROM journal_progress")
    return dict(rows)  # type: ignore[arg-type]


def forget_segments(names: Iterable[str]) -> Op[None]:
    """Drop the progress of segments whose files are gone."""
    for name in names:
        yield q("DELETE FROM journal_progress WHERE segment = ?", name)


def to_json(rows: list[dict[str, Any]]) -> str:
    """Write ``rows`` so that both databases take them: no NUL and no lone surrogate.

    Such a character is replaced rather than refused: a refused row could never be committed.
    """
    text = ujson.dumps(rows, ensure_ascii=True, escape_forward_slashes=False)
    if "\\u0000" in text or "\\ud" in text:
        text = ujson.dumps([{name: _clean(value) for name, value in row.items()} for row in rows])
    return text


def _clean(value: Any) -> Any:
    if isinstance(value, str) and not storable(value):
        return value.encode("utf-8", "replace").decode().replace("\0", "?")
    return value


def _add(sums: Sums, event: UsageEvent) -> None:
    key = hourly_key(event)
    total = sums.get(key)
    if total is None:
        sums[key] = list(hourly_sums(event))
    else:
        for index, value in enumerate(hourly_sums(event)):
            total[index] += value


def _hourly_row(key: tuple[Any, ...], total: list[int]) -> dict[str, int | str]:
    return dict(zip(_HOURLY_NAMES, (*key, *map(int, total)), strict=True))


def _insert_events(dialect: Dialect) -> str:
    names = ", ".join(name for name, _ in EVENT_COLUMNS)
    select = dialect.recordset(EVENT_COLUMNS)
    return f"INSERT INTO usage_events ({names}) {select} ON CONFLICT (day, id) DO NOTHING RETURNING id"


def _add_hourly(dialect: Dialect) -> str:
    names = ", ".join(name for name, _ in _HOURLY)
    key = ", ".join(name for name, _ in HOURLY_KEY if name != "day")
    adds = ", ".join(f"{name} = h.{name} + excluded.{name}" for name in HOURLY_SUMS)
    select = dialect.recordset(_HOURLY)
    return f"INSERT INTO usage_hourly AS h ({names}) {select} ON CONFLICT ({key}) DO UPDATE SET {adds}"
