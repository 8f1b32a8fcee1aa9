"""The columns of the two usage tables, and an event as a row of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from voidllm.core.usage_line import LAYOUT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: (name, type) of every column of ``usage_events``: the day, and a line's values in their order.
EVENT_COLUMNS = (
    ("day", "int"),
    *((value.name, "text" if value.type == "text" else "int") for value in LAYOUT),
)

#: What ``usage_hourly`` tells apart: all that is bounded by configuration.
HOURLY_KEY = (
    ("hour_ms", "int"),
    ("day", "int"),
    ("org_id", "text"),
    ("team_id", "text"),
    ("user_id", "text"),
    ("service_account_id", "text"),
    ("key_id", "text"),
    ("kind", "text"),
    ("endpoint", "text"),
    ("model", "text"),
    ("provider", "text"),
    ("deployment", "text"),
    ("status", "int"),
    ("source", "text"),
)

#: What it adds up.
HOURLY_SUMS = (
    "requests",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "cost_nano",
    "unpriced_requests",
    "duration_sum_ms",
    "ttft_sum_ms",
    "ttft_count",
)

TOKEN_SUMS = HOURLY_SUMS[1:8]

_OPTIONAL = {value.name for value in LAYOUT if value.optional}

#: For each column of ``usage_hourly``, how it follows from the rows of ``usage_events``.
_SPECIAL = {
    "hour_ms": "started_ms - started_ms % 3600000",
    "requests": "count(*)",
    "cost_nano": "coalesce(sum(cost_nano), 0)",
    "unpriced_requests": "count(*) FILTER (WHERE cost_nano IS NULL AND deployment <> '')",
    "duration_sum_ms": "sum(duration_ms)",
    "ttft_sum_ms": "coalesce(sum(ttft_ms), 0)",
    "ttft_count": "count(ttft_ms)",
}


def day_of(ms: int) -> int:
    """Give the UTC day of a Unix time in milliseconds as YYYYMMDD."""
    date = _EPOCH + timedelta(days=ms // 86_400_000)
    return date.year * 10000 + date.month * 100 + date.day


def hourly_insert(source: str) -> str:
    """Give the statement that adds rows of ``usage_events`` to the hourly sums.

    :param source: what stands behind FROM.
    """
    key = [name for name, _ in HOURLY_KEY]
    names = ", ".join((*key, *HOURLY_SUMS))
    keys = ", ".join(_SPECIAL.get(name, _or_none(name)) for name in key)
    sums = ", ".join(_SPECIAL.get(name, f"sum({name})") for name in HOURLY_SUMS)
    places = ", ".join(str(place) for place in range(1, len(key) + 1))
    conflict = ", ".join(name for name in key if name != "day")
    adds = ", ".join(f"{name} = h.{name} + excluded.{name}" for name in HOURLY_SUMS)
    # In one order, because other boxes add to the same rows.
    return (
        f"INSERT INTO usage_hourly AS h ({names}) SELECT {keys}, {sums} FROM {source}"  # noqa: S608
        f" GROUP BY {places} ORDER BY {places} ON CONFLICT ({conflict}) DO UPDATE SET {adds}"
    )


def _or_none(name: str) -> str:
    return f"coalesce({name}, '')" if name in _OPTIONAL else name
