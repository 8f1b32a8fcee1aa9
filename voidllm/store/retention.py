"""What is too old goes, a bounded piece at a time, so that nobody who writes waits for it."""

from __future__ import annotations

from voidllm.store.dialect import Dialect
from voidllm.store.statements import PAGE, Op, Query, q
from voidllm.store.usage_roll import LOCK

#: Groups whose sums are looked through in one transaction.
GROUPS = 200

# A partition can only be dropped while nobody uses the table; others queue behind whoever waits for that.
_LOCK_MS = 1000
_FIRST_HOUR, _FIRST_DAY, _FIRST_MONTH = 1_000_000_000, 10_000_000, 100_000


def old_partitions(day: int) -> Op[list[str]]:
    """Name the partitions of days before ``day`` (YYYYMMDD); none while any of their rows is in no sum."""
    rows = yield q(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'usage_events'::regclass AND c.relname < ? AND c.relname >= 'usage_events_p0'"
        " AND NOT EXISTS (SELECT 1 FROM usage_pending WHERE day < ?) ORDER BY c.relname",
        f"usage_events_p{day:08d}",
        day,
    )
    return [name for (name,) in rows]


def drop_partition(name: str) -> Op[None]:
    """Drop one of :func:`old_partitions`; gives up rather than hold up others for long."""
    yield Query(f"SET LOCAL lock_timeout = {_LOCK_MS}")
    yield Query(f"DROP TABLE IF EXISTS {name}")


def drop_events(day: int, rows: int = PAGE) -> Op[int]:
    """Delete some rows of days before ``day`` (YYYYMMDD) that are in the sums; gives how many."""
    found = yield q(
        "SELECT e.day, e.id FROM usage_events e WHERE e.day < ? AND NOT EXISTS (SELECT 1 FROM usage_pending p"
        " WHERE p.day = e.day AND p.id = e.id) ORDER BY e.day, e.id LIMIT ?",
        day,
        rows,
    )
    if found:
        marks = ", ".join(["(?, ?)"] * len(found))
        yield Query(
            f"DELETE FROM usage_events WHERE (day, id) IN (VALUES {marks})",  # noqa: S608
            tuple(value for row in found for value in row),
        )
    return len(found)


def drop_sums(
    dialect: Dialect, after: int, hours_ms: int, day: int | None, groups: int = GROUPS
) -> Op[int | None]:
    """Delete sums of the groups that come after one: of old hours, and of old days and months.

    :param hours_ms: Unix milliseconds; hours that begin before it go.
    :param day: YYYYMMDD; days before it and months before its month go. ``None`` keeps them.
    :returns: the group to go on after, ``None`` at the end.
    """
    rows = yield q("SELECT id FROM usage_groups WHERE id > ? ORDER BY id LIMIT ?", after, groups)
    if not rows:
        return None
    first, last = rows[0][0], rows[-1][0]
    ends = [(_FIRST_HOUR, hours_ms)]
    if day is not None:
        ends += [(_FIRST_DAY, day), (_FIRST_MONTH, day // 100)]
        if dialect.name == "postgres":
            # Whoever adds up must not lose a group that they have just found.
            yield Query(f"SELECT pg_advisory_xact_lock({LOCK})")
    for low, high in ends:
        yield q(
            "DELETE FROM usage_sums WHERE group_id >= ? AND group_id <= ? AND period >= ? AND period < ?",
            first,
            last,
            low,
            high,
        )
    if day is not None:
        yield q(
            "DELETE FROM usage_groups AS g WHERE g.id >= ? AND g.id <= ?"
            " AND NOT EXISTS (SELECT 1 FROM usage_sums s WHERE s.group_id = g.id)",
            first,
            last,
        )
    return int(last)


def drop_counted(day: int, tags_day: int) -> Op[None]:
    """Delete what limits counted before a day in UTC, and the tags of days before another one."""
    yield q("DELETE FROM usage_counted WHERE day < ?", day)
    yield q("DELETE FROM usage_tags WHERE day < ?", tags_day)
