"""One partition of ``usage_events`` per day, made before its first row (PostgreSQL only)."""

from __future__ import annotations

from typing import Iterable

from voidllm.core.errors import StoreRejected
from voidllm.core.usage_line import started_ms
from voidllm.store.statements import Op, Query
from voidllm.store.usage_columns import day_of

_DAY_MS = 86_400_000

#: Days before and after today that get partitions of their own. Rows of any other day, as a
#: wrong clock makes them, go to the default partition, so that it cannot make thousands.
PAST_DAYS = 400
AHEAD_DAYS = 7

_LOCK = 0x766F_6964_6461_79


def days_ahead(now_ms: int) -> set[int]:
    """Give yesterday, today and the days that are made ahead of their time."""
    return {day_of(now_ms + n * _DAY_MS) for n in range(-1, AHEAD_DAYS + 1)}


def days_of(lines: Iterable[bytes], now_ms: int) -> set[int]:
    """Give the days of usage lines that deserve a partition.

    :raises StoreRejected: if a line does not say when it is from.
    """
    try:
        # Many lines, few days.
        numbers = {started_ms(line) // _DAY_MS for line in lines}
    except ValueError:
        raise StoreRejected("a usage line has no start") from None
    first, last = now_ms // _DAY_MS - PAST_DAYS, now_ms // _DAY_MS + AHEAD_DAYS
    return {day_of(number * _DAY_MS) for number in numbers if first <= number <= last}


def make_partitions(days: Iterable[int]) -> Op[None]:
    """Make the partitions of some days unless they exist.

    Made beside the table and then attached: that waits for fewer locks than making them in place.
    """
    yield Query(f"SELECT pg_advisory_xact_lock({_LOCK})")
    for day in sorted(days):
        name = f"usage_events_p{day:08d}"
        rows = yield Query("SELECT to_regclass(?) IS NOT NULL", (name,))
        if rows[0][0]:
            continue
        yield Query(f"CREATE TABLE {name} (LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        yield Query(
            f"ALTER TABLE usage_events ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({day + 1})"
        )
