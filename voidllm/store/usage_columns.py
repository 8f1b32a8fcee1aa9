"""The columns of ``usage_events``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from voidllm.core.usage_line import LAYOUT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: (name, type) of every column of ``usage_events``: the day, and a line's values in their order.
EVENT_COLUMNS = (
    ("day", "int"),
    *((value.name, "text" if value.type == "text" else "int") for value in LAYOUT),
)


def day_of(ms: int) -> int:
    """Give the UTC day of a Unix time in milliseconds as YYYYMMDD."""
    date = _EPOCH + timedelta(days=ms // 86_400_000)
    return date.year * 10000 + date.month * 100 + date.day
