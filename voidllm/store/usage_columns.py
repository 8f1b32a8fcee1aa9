"""The columns of the two usage tables, and an event as a row of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from voidllm.core.usage import UsageEvent

_HOUR_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: (name, type) of every column of ``usage_events``.
EVENT_COLUMNS = (
    ("day", "int"),
    ("id", "text"),
    ("request_id", "text"),
    ("parent_id", "text"),
    ("started_ms", "int"),
    ("kind", "text"),
    ("endpoint", "text"),
    ("org_id", "text"),
    ("team_id", "text"),
    ("user_id", "text"),
    ("service_account_id", "text"),
    ("key_id", "text"),
    ("key_type", "text"),
    ("model", "text"),
    ("requested_model", "text"),
    ("deployment", "text"),
    ("provider", "text"),
    ("status", "int"),
    ("error_code", "text"),
    ("stream", "int"),
    ("source", "text"),
    ("input_tokens", "int"),
    ("cache_read_tokens", "int"),
    ("cache_write_tokens", "int"),
    ("output_tokens", "int"),
    ("reasoning_tokens", "int"),
    ("audio_input_tokens", "int"),
    ("audio_output_tokens", "int"),
    ("cost_nano", "int"),
    ("price_version", "text"),
    ("duration_ms", "int"),
    ("ttft_ms", "int"),
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


def day_of(ms: int) -> int:
    """Give the UTC day of a Unix time in milliseconds as YYYYMMDD."""
    date = _EPOCH + timedelta(days=ms // 86_400_000)
    return date.year * 10000 + date.month * 100 + date.day


def event_row(event: UsageEvent) -> dict[str, Any]:
    """Give ``event`` as the object that becomes its row."""
    tokens = event.tokens
    return {
        "day": day_of(event.started_ms),
        "id": event.id,
        "request_id": event.request_id,
        "parent_id": event.parent_id,
        "started_ms": event.started_ms,
        "kind": event.kind,
        "endpoint": event.endpoint,
        "org_id": event.org_id,
        "team_id": event.team_id,
        "user_id": event.user_id,
        "service_account_id": event.service_account_id,
        "key_id": event.key_id,
        "key_type": event.key_type,
        "model": event.model,
        "requested_model": event.requested_model,
        "deployment": event.deployment,
        "provider": event.provider,
        "status": event.status,
        "error_code": event.error_code,
        "stream": int(event.stream),
        "source": event.source,
        "input_tokens": tokens.input,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        "audio_input_tokens": tokens.audio_input,
        "audio_output_tokens": tokens.audio_output,
        "cost_nano": event.cost_nano,
        "price_version": event.price_version,
        "duration_ms": event.duration_ms,
        "ttft_ms": event.ttft_ms,
    }


def hourly_key(event: UsageEvent) -> tuple[Any, ...]:
    """Give the values of :data:`HOURLY_KEY` that ``event`` counts under."""
    return (
        event.started_ms - event.started_ms % _HOUR_MS,
        day_of(event.started_ms),
        event.org_id,
        event.team_id or "",
        event.user_id or "",
        event.service_account_id or "",
        event.key_id,
        event.kind,
        event.endpoint,
        event.model,
        event.provider,
        event.deployment,
        event.status,
        event.source,
    )


def hourly_sums(event: UsageEvent) -> tuple[int, ...]:
    """Give what ``event`` adds to each of :data:`HOURLY_SUMS`."""
    tokens = event.tokens
    return (
        1,
        tokens.input,
        tokens.cache_read,
        tokens.cache_write,
        tokens.output,
        tokens.reasoning,
        tokens.audio_input,
        tokens.audio_output,
        event.cost_nano or 0,
        event.cost_nano is None,
        event.duration_ms,
        event.ttft_ms or 0,
        event.ttft_ms is not None,
    )
