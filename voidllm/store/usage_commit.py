"""Usage lines into rows, exactly once, without an object for any of them.

Rows that are new are marked in the same transaction: :mod:`voidllm.store.usage_roll` adds them up.

Both databases are handed the values as they stand in the lines (:mod:`voidllm.core.usage_line`).
PostgreSQL reads the JSON itself. For SQLite one call of the JSON parser and statements of many
rows cost the least; each such statement lets go of the interpreter while it runs.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Any, Iterable, Sequence

import ujson

from voidllm.core.errors import StoreRejected
from voidllm.core.usage_line import DEFAULTS, LAYOUT, VERSION, WIDTH, Value
from voidllm.store.dialect import Dialect
from voidllm.store.statements import Op, Query, q, storable
from voidllm.store.usage_columns import EVENT_COLUMNS, day_of

# No row comes back when the segment is already committed that far; with one, the row is
# locked until the end of the transaction, so the same piece cannot be committed twice at once.
_ADVANCE = (
    "INSERT INTO journal_progress AS p (segment, end_offset) VALUES (?, ?)"
    " ON CONFLICT (segment) DO UPDATE SET end_offset = excluded.end_offset"
    " WHERE p.end_offset < excluded.end_offset RETURNING end_offset"
)

_DAY_MS = 86_400_000
_NAMES = ", ".join(name for name, _ in EVENT_COLUMNS)
_INSERT = f"INSERT INTO usage_events ({_NAMES})"

#: Rows of one SQLite statement, largest first; few sizes, because each is compiled once. Large,
#: because a thread that has let go of the interpreter waits up to 5 ms for it while the reactor
#: is busy; not larger, because parsing and binding hold it for about a millisecond at this size.
SIZES = (256, 64, 16, 4, 1)
_ROW = f"({', '.join('?' * len(EVENT_COLUMNS))})"

_NEW = "usage_events WHERE rowid > ?"


def _pending(source: str) -> str:
    return f"INSERT INTO usage_pending (day, id) SELECT day, id FROM {source}"  # noqa: S608


def _last_used(source: str, condition: str) -> str:
    # In one order, because other boxes write the same rows.
    return (
        f"INSERT INTO key_last_used AS k (key_id, last_used_ms) SELECT key_id, max(started_ms) FROM {source}"  # noqa: S608
        f" {condition} key_id <> '' GROUP BY key_id ORDER BY key_id ON CONFLICT (key_id) DO UPDATE"
        " SET last_used_ms = excluded.last_used_ms WHERE excluded.last_used_ms > k.last_used_ms"
    )


_SQLITE_PENDING = _pending(_NEW)
_SQLITE_LAST_USED = _last_used(_NEW, "AND")


def commit_lines(dialect: Dialect, segment: str, end_offset: int, lines: Sequence[bytes]) -> Op[int]:
    """Insert the events of ``lines``, mark the really new ones to be added up, and note the progress.

    :returns: how many rows were new.
    :raises StoreRejected: if a line is none.
    """
    if not (yield q(_ADVANCE, segment, end_offset)):
        return 0
    if not lines:
        return 0
    if dialect.name == "postgres":
        ((inserted,),) = yield Query(_postgres_commit(), (_storable_text(_text(lines)),))
        return int(inserted)
    return (yield from _sqlite_commit(lines))


def journal_progress() -> Op[dict[str, int]]:
    """Read how far each segment has been committed."""
    rows = yield q("SELECT segment, end_offset FROM journal_progress")
    return dict(rows)  # type: ignore[arg-type]


def forget_segments(names: Iterable[str]) -> Op[None]:
    """Drop the progress of segments whose files are gone."""
    for name in names:
        yield q("DELETE FROM journal_progress WHERE segment = ?", name)


def _text(lines: Sequence[bytes]) -> str:
    # A byte that is not ASCII is in no line that we wrote, and no JSON afterwards.
    return (b"[%b]" % b",".join(lines)).decode("ascii", "replace")


def _rows(lines: Sequence[bytes]) -> list[list[Any]]:
    """Parse ``lines`` into rows of :data:`WIDTH` values that the database can store.

    :raises StoreRejected: if one of them is not an array of this version.
    """
    text = _text(lines)
    try:
        rows: list[list[Any]] = ujson.loads(text)
    except ValueError:
        raise StoreRejected("a usage line is not JSON") from None
    if len(rows) != len(lines) or any(type(row) is not list or row[:1] != [VERSION] for row in rows):
        raise StoreRejected("a usage line is not an array of this version")
    if any(len(row) != WIDTH for row in rows):
        rows = [[*row[:WIDTH], *DEFAULTS[len(row) :]] for row in rows]
    if _suspicious(text):
        rows = [[_clean(value) for value in row] for row in rows]
    return rows


def _storable_text(text: str) -> str:
    """Give ``text`` with what PostgreSQL cannot store replaced.

    Replaced rather than refused: a refused row could never be committed.
    """
    if not _suspicious(text):
        return text
    try:
        rows = ujson.loads(text)
    except ValueError:
        raise StoreRejected("a usage line is not JSON") from None
    return ujson.dumps([[_clean(value) for value in row] for row in rows], escape_forward_slashes=False)


def _suspicious(text: str) -> bool:
    """Say whether there may be a NUL or a lone surrogate in a text that is ASCII."""
    return "\\u0000" in text or "\\ud" in text or "\\uD" in text


def _clean(value: Any) -> Any:
    if isinstance(value, str) and not storable(value):
        return value.encode("utf-8", "replace").decode().replace("\0", "?")
    return value


class _Days(dict[int, int]):
    """YYYYMMDD by day number; a batch has few days and many rows."""

    def __missing__(self, number: int) -> int:
        day = self[number] = day_of(number * _DAY_MS)
        return day


def _sqlite_commit(lines: Sequence[bytes]) -> Op[int]:
    ((before,),) = yield Query("SELECT coalesce(max(rowid), 0) FROM usage_events")
    days = _Days()
    start = 0
    for size in SIZES:
        while len(lines) - start >= size:
            rows = _rows(lines[start : start + size])
            try:
                for row in rows:
                    # In the place of the version, which is no column.
                    row[0] = days[row[1] // _DAY_MS]
            except (TypeError, OverflowError):
                raise StoreRejected("a usage line has no start") from None
            yield Query(_sqlite_insert(size), tuple(chain.from_iterable(rows)))
            start += size
    ((inserted,),) = yield Query(f"SELECT count(*) FROM {_NEW}", (before,))  # noqa: S608
    if inserted:
        yield Query(_SQLITE_PENDING, (before,))
        yield Query(_SQLITE_LAST_USED, (before,))
    return int(inserted)


@cache
def _sqlite_insert(size: int) -> str:
    return f"{_INSERT} VALUES {', '.join([_ROW] * size)} ON CONFLICT DO NOTHING"


@cache
def _postgres_commit() -> str:
    started = "(r->>1)::bigint"
    day = f"to_char(DATE '1970-01-01' + ({started} / {_DAY_MS})::int, 'YYYYMMDD')::int"
    values = ", ".join(_postgres_value(place, value) for place, value in enumerate(LAYOUT, 1))
    # By id, so that two transactions with the same events cannot lock each other out; and the
    # keys after all events, because they need every row that was inserted.
    return (
        f"WITH new AS ({_INSERT} SELECT {day}, {values} FROM jsonb_array_elements(?::jsonb) AS r"  # noqa: S608
        " ORDER BY r->>2 ON CONFLICT (day, id) DO NOTHING RETURNING *),"
        f" pending AS ({_pending('new')}), used AS ({_last_used('new', 'WHERE')}) SELECT count(*) FROM new"
    )


def _postgres_value(place: int, value: Value) -> str:
    found = f"r->>{place}"
    if value.type == "bool":
        found = f"({found})::bool::int"
    elif value.type == "int":
        found = f"({found})::bigint"
    if value.default is None:
        return found
    default = f"'{value.default}'" if value.type == "text" else str(int(value.default))
    return f"coalesce({found}, {default})"
