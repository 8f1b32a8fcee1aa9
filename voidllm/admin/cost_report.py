"""``/api/v1/orgs/{org_id}/cost-report``: what was spent on what, when, and how that was before."""

from __future__ import annotations

from typing import Annotated, Any

from attrs import evolve
from msgspec import Meta, Struct, field

from voidllm.admin.access import READ
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Id, Nothing, Time
from voidllm.admin.moments import moment
from voidllm.admin.reporting import flush, previous, question, shifted
from voidllm.admin.usage_scope import of_org
from voidllm.admin.usage_shapes import Amounts, UsageFilter
from voidllm.admin.usage_views import amounts, group_text
from voidllm.auth.roles import ORG_ADMIN
from voidllm.store.records import UsageQuery, UsageRow
from voidllm.store.usage_names import labels
from voidllm.store.usage_report import cover_of

_Change = Annotated[
    float | None, Meta(description="of the cost since the time before, in per cent; null from nothing")
]


class CostAsk(UsageFilter):
    """Of which time and which requests."""


class Cost(Amounts, kw_only=True, frozen=True):
    """What something cost."""

    share: Annotated[float, Meta(ge=0, le=1, description="of the whole cost")]
    avg_cost_nano: Annotated[float, Meta(ge=0, description="a request")]
    previous: Amounts
    change_percent: _Change


class CostOf(Cost, kw_only=True, frozen=True):
    """What one model or team cost."""

    id: str
    name: str


class CostOn(Cost, kw_only=True, frozen=True):
    """What one day cost."""

    day: Annotated[str, Meta(extra_json_schema={"format": "date"})]


class CostReport(Struct, kw_only=True, frozen=True):
    """Costs of an organisation, compared with the same length of time before."""

    org_id: Id
    from_: Time = field(name="from")
    to: Time
    previous_from: Time
    previous_to: Time
    timezone: str
    total: Cost
    by_model: list[CostOf]
    by_team: list[CostOf]
    by_day: Annotated[list[CostOn], Meta(description="the oldest first")]


async def cost_report(call: Call[CostAsk, Nothing]) -> CostReport:
    """Report costs.

    :raises Refusal: 400 or 503.
    """
    whose = await of_org(call)
    asked = question(call, whose, ())
    await flush(call.context)
    then, now = cover_of(previous(asked)), cover_of(asked)
    total, total_before = await _both(call, asked)
    whole = total[0] if total else None
    models, models_before = await _both(call, evolve(asked, group_by=("model",)))
    teams, teams_before = await _both(call, evolve(asked, group_by=("team",)))
    days, days_before = await _both(call, evolve(asked, group_by=("day",)))
    names = await call.read(labels, "team", [str(row.group[0]) for row in teams])
    cost = whole.cost_nano if whole else 0
    return CostReport(
        org_id=call.org.id,
        from_=moment(max(0, now.since_ms)),
        to=moment(now.until_ms),
        previous_from=moment(max(0, then.since_ms)),
        previous_to=moment(max(0, then.until_ms)),
        timezone=whose.zone,
        total=Cost(**_cost(whole, total_before.get(()), cost)),
        by_model=[_of(row, models_before, cost, {}) for row in models],
        by_team=[_of(row, teams_before, cost, names) for row in teams],
        by_day=[
            CostOn(day=group_text("day", row.group[0]), **_cost(row, days_before.get(row.group), cost))
            for row in sorted(days, key=lambda row: row.group)
        ],
    )


async def _both(
    call: Call[Any, Any], query: UsageQuery
) -> tuple[list[UsageRow], dict[tuple[str | int, ...], UsageRow]]:
    store = call.context.store
    return await store.usage_report(query), shifted(query, await store.usage_report(previous(query)))


def _of(row: UsageRow, before: dict[Any, UsageRow], whole: int, names: dict[str, str]) -> CostOf:
    id_ = str(row.group[0])
    return CostOf(id=id_, name=names.get(id_, id_), **_cost(row, before.get(row.group), whole))


def _cost(row: UsageRow | None, before: UsageRow | None, whole: int) -> dict[str, Any]:
    sums = amounts(row)
    cost, earlier = sums["cost_nano"], before.cost_nano if before is not None else 0
    return {
        **sums,
        "share": round(cost / whole, 4) if whole else 0.0,
        "avg_cost_nano": round(cost / sums["total_requests"], 1) if row is not None else 0.0,
        "previous": Amounts(**amounts(before)),
        "change_percent": round(100 * (cost - earlier) / earlier, 1) if earlier else None,
    }


ROUTES = (
    Route(
        "GET",
        "/api/v1/orgs/{org_id}/cost-report",
        "report_costs",
        "Report costs",
        cost_report,
        CostReport,
        ORG_ADMIN,
        READ,
        tenant="org",
        query=CostAsk,
        tag="usage",
        description="By model, by team and by day, each beside the same length of time before.",
    ),
)
