"""What usage reports are asked for and look like."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Count, Moment, Time

#: The same names as :data:`voidllm.store.usage_report.DIMENSIONS`.
Dimension = Literal[
    "model",
    "status",
    "key",
    "team",
    "org",
    "user",
    "service_account",
    "provider",
    "deployment",
    "endpoint",
    "kind",
    "source",
    "day",
    "hour",
]

_Group = Annotated[str, Meta(description="empty where a request had none")] | UnsetType


class UsageAsk(Asked):
    """Which report."""

    group_by: (
        Annotated[
            list[Dimension],
            Meta(description="model,status by default; a mere comma for one sum", max_length=14),
        ]
        | None
    ) = None
    since: Annotated[Moment, Meta(description="first moment")] = "30d"
    until: (
        Annotated[Moment, Meta(description="the first moment that no longer counts; now by default")] | None
    ) = None


class UsageLine(Struct, kw_only=True, frozen=True):
    """The sums of one group. It has the names that the report is grouped by, and no others of them."""

    model: _Group = UNSET
    status: _Group = UNSET
    key: _Group = UNSET
    team: _Group = UNSET
    org: _Group = UNSET
    user: _Group = UNSET
    service_account: _Group = UNSET
    provider: _Group = UNSET
    deployment: _Group = UNSET
    endpoint: _Group = UNSET
    kind: _Group = UNSET
    source: _Group = UNSET
    day: Annotated[str, Meta(extra_json_schema={"format": "date"})] | UnsetType = UNSET
    hour: Time | UnsetType = UNSET
    total_requests: Count
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    input_tokens: Count
    cache_read_tokens: Count
    cache_write_tokens: Count
    output_tokens: Count
    reasoning_tokens: Count
    audio_input_tokens: Count
    audio_output_tokens: Count
    cost_nano: Annotated[int, Meta(description="USD / 10^9")]
    cost: Annotated[str, Meta(description="USD, exact")]
    unpriced_requests: Annotated[Count, Meta(description="admitted requests without a known price")]
    duration_sum_ms: Count
    ttft_sum_ms: Count
    ttft_count: Annotated[Count, Meta(description="requests that ttft_sum_ms is the sum of")]
