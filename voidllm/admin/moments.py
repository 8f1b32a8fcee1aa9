"""Moments as people write them, and as replies show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def show(at_ms: int | None) -> str | None:
    """Give a moment as RFC 3339 in UTC, to the second, or ``None`` for none.

    A moment after :data:`LAST_MS` has no such form and is shown as that one.
    """
    if at_ms is None:
        return None
    moment = _EPOCH + timedelta(milliseconds=min(at_ms, LAST_MS))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
