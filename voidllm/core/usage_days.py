"""Days and hours as the clocks of an organisation show them.

Days are numbers such as 20261124, months such as 202611, moments Unix milliseconds.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR_MS = 3_600_000
DAY_MS = 86_400_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Offsets from UTC are multiples of it everywhere, and they change at multiples of it.
_QUARTER_MS = 900_000

#: (first moment, first moment after, offset from UTC in milliseconds, day)
Span = tuple[int, int, int, int]


def zone_of(name: str) -> tzinfo:
    """Give an IANA time zone by its name; UTC for one that is not known here."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return UTC


def at(ms: int, zone: tzinfo) -> datetime:
    """Give a moment on the clocks of ``zone``."""
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(zone)


def date_of(ms: int, zone: tzinfo) -> date:
    """Give the date of a moment."""
    return at(ms, zone).date()


def midnight_ms(day: date, zone: tzinfo) -> int:
    """Give the first moment of a day; where clocks skip midnight, that is when they do."""
    return (datetime(day.year, day.month, day.day, tzinfo=zone) - _EPOCH) // timedelta(milliseconds=1)


def hour_ms(ms: int, zone: tzinfo) -> int:
    """Give the first moment of the hour that ``ms`` is in."""
    offset = at(ms, zone).utcoffset() or timedelta()
    return ms - (ms + offset // timedelta(milliseconds=1)) % HOUR_MS


def number(day: date) -> int:
    """Give a date as YYYYMMDD."""
    return day.year * 10000 + day.month * 100 + day.day


@lru_cache(maxsize=4096)
def spans(zone_name: str, utc_day: int) -> tuple[Span, ...]:
    """Cut a day in UTC where the local date or the offset from UTC changes.

    :param utc_day: days since 1970.
    """
    zone = zone_of(zone_name)
    found: list[Span] = []
    for start in range(utc_day * DAY_MS, (utc_day + 1) * DAY_MS, _QUARTER_MS):
        there = at(start, zone)
        offset = (there.utcoffset() or timedelta()) // timedelta(milliseconds=1)
        day = number(there.date())
        if found and found[-1][2:] == (offset, day):
            start = found.pop()[0]
        found.append((start, (start // _QUARTER_MS + 1) * _QUARTER_MS, offset, day))
    # Each but the last ends where the next one begins.
    ends = [*(span[0] for span in found[1:]), (utc_day + 1) * DAY_MS]
    return tuple((first, end, offset, day) for (first, _, offset, day), end in zip(found, ends, strict=True))
