"""Which hours, days and months together are a span of time."""

from __future__ import annotations

from datetime import date, timedelta, tzinfo

from attrs import frozen

from voidllm.core.usage_days import DAY_MS, HOUR_MS, date_of, hour_ms, midnight_ms, number

#: How long hours are kept apart; days and months are for good.
HOURS_KEPT_MS = 14 * DAY_MS

# Nobody's clock is more wrong, and calendars end.
_AHEAD_MS = 4000 * DAY_MS


@frozen
class Piece:
    """A row of periods of one kind, both ends included.

    :ivar day: the day that all of them are in, if they are hours.
    """

    first: int
    last: int
    day: int = 0


@frozen
class Cover:
    """What a report adds up.

    :ivar since_ms: where it really begins, rounded down to what is kept apart.
    :ivar until_ms: the first moment behind it, rounded up; may be after now.
    """

    since_ms: int
    until_ms: int
    hours: tuple[Piece, ...] = ()
    days: tuple[Piece, ...] = ()
    months: tuple[Piece, ...] = ()

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """All of it."""
        return (*self.hours, *self.days, *self.months)


def hours_since_ms(now_ms: int, zone: tzinfo) -> int:
    """Give the first moment whose hours are sure to be kept apart."""
    return midnight_ms(date_of(now_ms - HOURS_KEPT_MS, zone), zone)


def cover_hours(since_ms: int, until_ms: int, now_ms: int, zone: tzinfo, *, by_day: bool = False) -> Cover:
    """Cover a span by hours alone; it begins no earlier than hours are kept, and ends soon after now.

    :param by_day: whether each day's hours are a piece of their own.
    """
    kept_ms, end_ms = hours_since_ms(now_ms, zone), now_ms + 2 * DAY_MS
    first = hour_ms(min(max(since_ms, kept_ms), end_ms), zone)
    until = max(first, hour_ms(min(until_ms - 1, end_ms), zone)) + HOUR_MS
    if not by_day:
        return Cover(first, until, hours=(Piece(first, until - 1),))
    pieces: list[Piece] = []
    at = first
    while at < until:
        day = date_of(at, zone)
        end = min(until, midnight_ms(day + timedelta(1), zone))
        pieces.append(Piece(at, end - 1, number(day)))
        at = end
    return Cover(first, until, hours=tuple(pieces))


def cover(
    since_ms: int, until_ms: int, now_ms: int, zone: tzinfo, *, hours: bool = True, months: bool = True
) -> Cover:
    """Cover a span by as few periods as possible; its ends are rounded outwards.

    :param hours: whether there are hours for the ends of it.
    :param months: whether whole months may stand for their days.
    """
    furthest_ms = now_ms + _AHEAD_MS
    since_ms = max(0, min(since_ms, furthest_ms))
    until_ms = max(min(until_ms, furthest_ms), since_ms + 1)
    first, last = date_of(since_ms, zone), date_of(until_ms - 1, zone)
    today = date_of(now_ms, zone)
    kept_ms = hours_since_ms(now_ms, zone)
    begins, ends = midnight_ms(first, zone), midnight_ms(last + timedelta(1), zone)
    # What is behind now does not count against a day, because nothing has happened there.
    cut_first = hours and since_ms > begins and since_ms >= kept_ms
    cut_last = hours and until_ms < ends and until_ms <= now_ms and until_ms > kept_ms
    since = hour_ms(since_ms, zone) if cut_first else begins
    until = hour_ms(until_ms - 1, zone) + HOUR_MS if cut_last else ends
    ends_in: list[Piece] = []
    if cut_first:
        end = until if first == last else midnight_ms(first + timedelta(1), zone)
        ends_in.append(Piece(since, end - 1, number(first)))
        first += timedelta(1)
    if cut_last and first <= last:
        ends_in.append(Piece(midnight_ms(last, zone), until - 1, number(last)))
        last -= timedelta(1)
    days, whole = _split(first, last, today) if months else ([(first, last)], [])
    return Cover(
        since,
        until,
        tuple(ends_in),
        tuple(Piece(number(a), number(b)) for a, b in days if a <= b),
        tuple(Piece(a, b) for a, b in whole),
    )


def _split(first: date, last: date, today: date) -> tuple[list[tuple[date, date]], list[tuple[int, int]]]:
    """Give the days before and behind the whole months between two dates, and those months."""
    start = first if first.day == 1 else _next_month(first)
    # The current month is whole as far as there is any of it.
    stop = _next_month(last) if last >= today or (last + timedelta(1)).day == 1 else last.replace(day=1)
    if start >= stop:
        return [(first, last)], []
    months = [(start.year * 100 + start.month, _month(stop - timedelta(1)))]
    return [(first, start - timedelta(1)), (stop, last)], months


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(32)).replace(day=1)


def _month(day: date) -> int:
    return day.year * 100 + day.month
