"""Moments as people write them, and as replies show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from voidllm.admin.fields import bad
from voidllm.config.durations import parse_duration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: The end of the year 9999, the last that RFC 3339 can write.
LAST_MS = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def parse_moment_ms(text: str, now_ms: int) -> int:
    """Read a moment: a duration before now, a date (UTC), or RFC 3339; gives Unix milliseconds.

    :raises ValueError: if it is none of them.
    """
    try:
        return now_ms - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not a moment; write for example 24h, 2026-01-31 or 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return to_ms(moment)


def show(at_ms: int | None) -> str | None:
    """Give a moment as RFC 3339 in UTC, or ``None`` for none; see :func:`moment`."""
    return None if at_ms is None else moment(at_ms)


def moment(at_ms: int) -> str:
    """Give a moment as RFC 3339 in UTC, to the second.

    A moment after :data:`LAST_MS` has no such form and is shown as that one.
    """
    return (_EPOCH + timedelta(milliseconds=min(at_ms, LAST_MS))).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_ms(moment: datetime) -> int:
    """Give the Unix milliseconds of a moment that has a time zone."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def span_ms(field: str, text: str) -> int:
    """Read the span of time that a request's ``field`` gives, in milliseconds.

    :raises Refusal: 400.
    """
    try:
        return parse_duration(text)
    except ValueError:
        raise bad(f"{field} must be a span of time such as 90d or 1h30m", param=field) from None
