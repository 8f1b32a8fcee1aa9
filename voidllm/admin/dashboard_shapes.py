"""What the dashboard shows."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Count, Id, Ref, Time
from voidllm.admin.usage_shapes import Amounts

_Rate = Annotated[float, Meta(ge=0)]


class DashboardAsk(Asked):
    """Whose dashboard; by default of the most that the caller may see."""

    org_id: Ref | None = None
    team_id: Ref | None = None


class Warned(Struct, kw_only=True, frozen=True):
    """A token limit of which at least 80 % is used."""

    window: Literal["daily", "monthly"]
    scope: Literal["org", "team", "key"]
    id: Id
    name: str
    limit: Count
    usage: Count
    percent_used: _Rate


class Hour(Amounts, kw_only=True, frozen=True):
    """One hour."""

    hour: Time


class Top(Amounts, kw_only=True, frozen=True):
    """One of the most used."""

    id: str
    name: str


class Dashboard(Struct, kw_only=True, frozen=True):
    """The last 24 hours at a glance, and how the time before them was."""

    scope: Literal["system", "org", "team", "user"]
    org_id: Id | UnsetType = UNSET
    team_id: Id | UnsetType = UNSET
    timezone: str
    active_keys: Count
    total_teams: Count
    total_members: Count
    requests_24h: Count
    errors_24h: Count
    tokens_24h: Count
    cost_nano_24h: int
    cost_estimate_24h: Annotated[str, Meta(description="USD, exact")]
    error_rate_24h: Annotated[float, Meta(ge=0, le=1, description="share of the requests")]
    latency_p50_ms: _Rate | None
    latency_p95_ms: _Rate | None
    ttft_p50_ms: _Rate | None
    ttft_p95_ms: _Rate | None
    tokens_per_second_p50: _Rate | None
    previous: Annotated[Amounts, Meta(description="the 24 hours before")]
    series: Annotated[list[Hour], Meta(description="hours in which something was used, the oldest first")]
    top_models: list[Top]
    top_teams: list[Top]
    budget_warnings: list[Warned]
