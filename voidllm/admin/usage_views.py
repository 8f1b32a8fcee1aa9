"""Rows of usage reports as JSON shows them."""

from __future__ import annotations

from typing import Any, Mapping

from voidllm.admin.moments import moment
from voidllm.admin.usage_shapes import Amounts, UsageLine
from voidllm.admin.views import dollars
from voidllm.core.usage_histogram import LATENCY_BOUNDS, SPEED_BOUNDS, TTFT_BOUNDS, quantile
from voidllm.store.records import UsageRow

_LATENCY_END = len(LATENCY_BOUNDS) + 1
_TTFT_END = _LATENCY_END + len(TTFT_BOUNDS) + 1


def group_text(name: str, value: str | int) -> str:
    """Show what a row has for one of the things that it is grouped by."""
    if name == "hour":
        return moment(int(value))
    digits = str(value)
    if name == "day":
        return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    if name == "month":
        return f"{digits[:4]}-{digits[4:]}"
    return digits


def amounts(row: UsageRow | None) -> dict[str, Any]:
    """Give the fields of :class:`Amounts`; nothing was used without a row."""
    if row is None:
        return {
            "total_requests": 0,
            "errors": 0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "total_tokens": 0,
            "cost_nano": 0,
            "cost": "0",
        }
    return {
        "total_requests": row.total_requests,
        "errors": row.errors,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "total_tokens": row.prompt_tokens + row.completion_tokens,
        "cost_nano": row.cost_nano,
        "cost": dollars(row.cost_nano),
    }


def percentiles(row: UsageRow) -> dict[str, float | None]:
    """Give what the histograms of a row tell; nothing without histograms."""
    if not row.counts:
        return {}
    latency, rest = row.counts[:_LATENCY_END], row.counts[_LATENCY_END:_TTFT_END]
    return {
        "latency_p50_ms": _rounded(quantile(LATENCY_BOUNDS, latency, 0.5)),
        "latency_p95_ms": _rounded(quantile(LATENCY_BOUNDS, latency, 0.95)),
        "ttft_p50_ms": _rounded(quantile(TTFT_BOUNDS, rest, 0.5)),
        "ttft_p95_ms": _rounded(quantile(TTFT_BOUNDS, rest, 0.95)),
        "tokens_per_second_p50": _rounded(quantile(SPEED_BOUNDS, row.counts[_TTFT_END:], 0.5)),
    }


def usage_view(
    group_by: tuple[str, ...],
    row: UsageRow,
    names: Mapping[tuple[str, str], str],
    previous: Mapping[tuple[str | int, ...], UsageRow] | None = None,
) -> UsageLine:
    """Show one row of a report; only what it was grouped by is there beside the numbers.

    :param names: what (kind, id) are called.
    :param previous: rows of the time before by their groups, shifted into this one.
    """
    groups = {name: group_text(name, value) for name, value in zip(group_by, row.group, strict=True)}
    more: dict[str, Any] = dict(percentiles(row))
    if previous is not None:
        more["previous"] = Amounts(**amounts(previous.get(row.group)))
    fields: dict[str, Any] = {**groups, **amounts(row), **more}
    return UsageLine(
        **fields,
        group_key=",".join(groups.values()),
        group_label=", ".join(names.get((name, text), text) for name, text in groups.items()),
        input_tokens=row.input_tokens,
        cache_read_tokens=row.cache_read_tokens,
        cache_write_tokens=row.cache_write_tokens,
        output_tokens=row.output_tokens,
        reasoning_tokens=row.reasoning_tokens,
        audio_input_tokens=row.audio_input_tokens,
        audio_output_tokens=row.audio_output_tokens,
        unpriced_requests=row.unpriced_requests,
        duration_sum_ms=row.duration_sum_ms,
        ttft_sum_ms=row.ttft_sum_ms,
        ttft_count=row.ttft_count,
        avg_duration_ms=round(row.duration_sum_ms / row.total_requests, 1) if row.total_requests else 0.0,
        tokens_per_second=(
            round(row.speed_tokens * 1000 / row.speed_sum_ms, 1) if row.speed_sum_ms else None
        ),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
