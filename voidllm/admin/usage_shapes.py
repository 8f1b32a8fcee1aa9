"""What usage reports are asked for and look like."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from voidllm.admin.kinds import Asked, Count, Id, Moment, Ref, Time

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
    "tag",
    "month",
    "day",
    "hour",
]

_Group = Annotated[str, Meta(description="empty where a request had none")] | UnsetType
_Refs = Annotated[list[Ref], Meta(max_length=50, description="those only")] | None
_Date = Annotated[str, Meta(extra_json_schema={"format": "date"})]
_Rate = Annotated[float, Meta(ge=0)]
_Named = Literal["org", "team", "user", "service_account", "key"]

#: Most lines of a report, and most of one with percentiles.
MOST_LINES = 10_000
MOST_WITH_PERCENTILES = 1000


class SpanAsk(Asked):
    """Of which time."""

    since: Annotated[Moment, Meta(description="first moment")] = "30d"
    until: (
        Annotated[Moment, Meta(description="the first moment that no longer counts; now by default")] | None
    ) = None
    from_: Annotated[Moment, Meta(description="the same as since")] | None = field(default=None, name="from")
    to: Annotated[Moment, Meta(description="the same as until")] | None = None


class UsageFilter(SpanAsk):
    """Of which requests. Several values of one name are any of them, several names are all of them."""

    model: _Refs = None
    provider: _Refs = None
    deployment: _Refs = None
    team: _Refs = None
    user: _Refs = None
    service_account: _Refs = None
    key: _Refs = None
    tag: Annotated[list[Ref], Meta(max_length=50, description="name:value, those only")] | None = None
    status: (
        Annotated[list[Annotated[str, Meta(pattern=r"^[1-5][0-9]{2}$(?![\s\S])")]], Meta(max_length=50)]
        | None
    ) = None


_Groups = (
    Annotated[
        list[Dimension],
        Meta(description="model,status by default; a mere comma for one sum", max_length=14),
    ]
    | None
)


class ReportAsk(UsageFilter):
    """Which report."""

    group_by: _Groups = None
    compare: (
        Annotated[Literal["previous"], Meta(description="with the same length of time before")] | None
    ) = None
    expand: (
        Annotated[list[_Named], Meta(max_length=5, description="names instead of ids in group_label")] | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=MOST_LINES, description="most lines; the most used come first")] = (
        1000
    )
    percentiles: Annotated[
        bool, Meta(description=f"with P50 and P95; at most {MOST_WITH_PERCENTILES:,} lines then")
    ] = True


class UsageAsk(ReportAsk):
    """Which report, across organisations."""

    org: _Refs = None
    limit: Annotated[int, Meta(ge=1, le=MOST_LINES, description="most lines; the most used come first")] = (
        MOST_LINES
    )
    percentiles: Annotated[
        bool, Meta(description=f"with P50 and P95; at most {MOST_WITH_PERCENTILES:,} lines then")
    ] = False


class ExportAsk(UsageFilter):
    """What to export."""

    format: Literal["csv", "ndjson"] = "csv"
    group_by: (
        Annotated[
            list[Dimension],
            Meta(description="the lines of a report; without it one line for each request", max_length=14),
        ]
        | None
    ) = None


class Amounts(Struct, kw_only=True, frozen=True):
    """What was used."""

    total_requests: Count
    errors: Annotated[Count, Meta(description="requests with a status of 400 or more")]
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cost_nano: Annotated[int, Meta(description="USD / 10^9")]
    cost: Annotated[str, Meta(description="USD, exact")]


class Groups(Struct, kw_only=True, frozen=True):
    """What the sums are of."""

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
    tag: _Group = UNSET
    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}$")] | UnsetType = UNSET
    day: _Date | UnsetType = UNSET
    hour: Time | UnsetType = UNSET


class UsageLine(Groups, kw_only=True, frozen=True):
    """The sums of one group. It has the names that the report is grouped by, and no others of them."""

    total_requests: Count
    errors: Annotated[Count, Meta(description="requests with a status of 400 or more")]
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cost_nano: Annotated[int, Meta(description="USD / 10^9")]
    cost: Annotated[str, Meta(description="USD, exact")]
    group_key: Annotated[str, Meta(description="the values of the group, commas between")]
    group_label: Annotated[str, Meta(description="the same, with names where `expand` asks for them")]
    input_tokens: Count
    cache_read_tokens: Count
    cache_write_tokens: Count
    output_tokens: Count
    reasoning_tokens: Count
    audio_input_tokens: Count
    audio_output_tokens: Count
    unpriced_requests: Annotated[Count, Meta(description="admitted requests without a known price")]
    duration_sum_ms: Count
    ttft_sum_ms: Count
    ttft_count: Annotated[Count, Meta(description="requests that ttft_sum_ms is the sum of")]
    avg_duration_ms: _Rate
    tokens_per_second: (
        Annotated[float, Meta(ge=0, description="of replies that ended well, after their first token")] | None
    ) = None
    latency_p50_ms: _Rate | UnsetType | None = UNSET
    latency_p95_ms: _Rate | UnsetType | None = UNSET
    ttft_p50_ms: _Rate | UnsetType | None = UNSET
    ttft_p95_ms: _Rate | UnsetType | None = UNSET
    tokens_per_second_p50: _Rate | UnsetType | None = UNSET
    previous: Annotated[Amounts, Meta(description="the same group before")] | UnsetType = UNSET


class Report(Struct, kw_only=True, frozen=True):
    """A report; all of it is on this page."""

    data: list[UsageLine]
    has_more: Annotated[bool, Meta(description="whether there are groups that were used less")]
    group_by: list[Dimension]
    from_: Annotated[Time, Meta(description="rounded to what is kept apart")] = field(name="from")
    to: Annotated[Time, Meta(description="rounded; may be after now")]
    timezone: Annotated[str, Meta(description="its clocks say which days and hours there are")]
    org_id: Id | UnsetType = UNSET
    team_id: Id | UnsetType = UNSET
    previous_from: Time | UnsetType = UNSET
    previous_to: Time | UnsetType = UNSET
