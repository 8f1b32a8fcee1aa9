"""``/api/v1/dashboard/stats``: the last 24 hours of whatever the caller leads."""

from __future__ import annotations

from typing import Any, cast

from attrs import evolve
from msgspec import UNSET

from voidllm.admin.access import READ, missing, require_org, require_team
from voidllm.admin.dashboard_shapes import Dashboard, DashboardAsk, Hour, Top, Warned
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Nothing
from voidllm.admin.moments import moment
from voidllm.admin.reporting import flush, previous
from voidllm.admin.usage_scope import Whose, own
from voidllm.admin.usage_shapes import Amounts
from voidllm.admin.usage_views import amounts, percentiles
from voidllm.admin.views import dollars
from voidllm.auth.roles import MEMBER, ORG_ADMIN, RANKS, TEAM_ADMIN, rank
from voidllm.core.usage_days import DAY_MS
from voidllm.limits.windows import month_of, month_start_ms
from voidllm.store import directory
from voidllm.store.records import UsageQuery, UsageRow
from voidllm.store.usage_budgets import counted, spent
from voidllm.store.usage_names import labels

_WARN = 0.8
_TOP = 5


async def stats(call: Call[DashboardAsk, Nothing]) -> Dashboard:
    """Put the dashboard together.

    :raises Refusal: 404 or 403 for an organisation or a team that the caller does not lead, or 503.
    """
    scope, whose = await _scope(call)
    await flush(call.context)
    now_ms, actor = call.now_ms, call.actor
    user_id = actor.user_id if scope == "user" else None
    store = call.context.store
    asked = UsageQuery(now_ms - DAY_MS, now_ms + 1, (), whose.where, 1000, whose.zone, now_ms, True)
    plain = evolve(asked, histograms=False)
    rows = await store.usage_report(asked)
    total = rows[0] if rows else None
    before = await store.usage_report(previous(plain))
    hours = await store.usage_report(evolve(plain, group_by=("hour",)))
    models = await store.usage_report(evolve(plain, group_by=("model",), limit=_TOP + 1))
    teams = await store.usage_report(evolve(plain, group_by=("team",), limit=_TOP + 1))
    names = await call.read(labels, "team", [str(row.group[0]) for row in teams])
    numbers = await call.read(counted, now_ms, whose.org_id, whose.team_id, user_id)
    sums = amounts(total)
    shares = {} if total is None else percentiles(total)
    requests = sums["total_requests"]
    return Dashboard(
        scope=cast(Any, scope),
        org_id=whose.org_id or UNSET,
        team_id=whose.team_id or UNSET,
        timezone=whose.zone,
        active_keys=numbers.active_keys,
        total_teams=numbers.total_teams,
        total_members=numbers.total_members,
        requests_24h=requests,
        errors_24h=sums["errors"],
        tokens_24h=sums["total_tokens"],
        cost_nano_24h=sums["cost_nano"],
        cost_estimate_24h=dollars(sums["cost_nano"]),
        error_rate_24h=round(sums["errors"] / requests, 4) if requests else 0.0,
        latency_p50_ms=shares.get("latency_p50_ms"),
        latency_p95_ms=shares.get("latency_p95_ms"),
        ttft_p50_ms=shares.get("ttft_p50_ms"),
        ttft_p95_ms=shares.get("ttft_p95_ms"),
        tokens_per_second_p50=shares.get("tokens_per_second_p50"),
        previous=Amounts(**amounts(before[0] if before else None)),
        series=[
            Hour(hour=moment(int(row.group[0])), **amounts(row))
            for row in sorted(hours, key=lambda row: row.group)
        ],
        top_models=_top(models, {}),
        top_teams=_top(teams, names),
        budget_warnings=await _warnings(call, scope, whose),
    )


async def _scope(call: Call[DashboardAsk, Nothing]) -> tuple[str, Whose]:
    actor, query = call.actor, call.query
    org_ref, team_ref = query.org_id, query.team_id
    if team_ref is not None and org_ref is None:
        org_ref = actor.org_id
    if org_ref is None and actor.everywhere:
        return "system", Whose(())
    ref = org_ref or actor.org_id
    org = None if ref is None else await call.read(directory.find_org, ref)
    if org is None:
        raise missing("org_id")
    where: tuple[tuple[str, str], ...] = (("org", org.id),)
    if team_ref is None and org_ref is None and rank(actor.role_in(org.id) or "") < RANKS[ORG_ADMIN]:
        # The one team that somebody leads is theirs to look at; of several they name one.
        led = [id_ for id_, role in actor.teams.items() if role == TEAM_ADMIN]
        if len(led) != 1:
            return "user", evolve(await own(call), org_id=org.id)
        team_ref = led[0]
    if team_ref is not None:
        team = await call.read(directory.find_team, org.id, team_ref)
        if team is None:
            raise missing("team_id")
        require_team(actor, org.id, team.id, TEAM_ADMIN)
        return "team", Whose((*where, ("team", team.id)), org.timezone, org.id, team.id)
    require_org(actor, org.id, ORG_ADMIN)
    return "org", Whose(where, org.timezone, org.id)


async def _warnings(call: Call[Any, Any], scope: str, whose: Whose) -> list[Warned]:
    now_ms, actor = call.now_ms, call.actor
    month_ms = month_start_ms(month_of(now_ms // DAY_MS))
    own_only = scope == "user"

    def op() -> Any:
        found = yield from spent(
            now_ms,
            month_ms,
            _WARN,
            org_id=whose.org_id,
            team_id=whose.team_id,
            user_id=actor.user_id if own_only else None,
            key_id=actor.key_id if own_only and actor.user_id is None else None,
        )
        return found

    return [
        Warned(
            window=cast(Any, one.window),
            scope=cast(Any, one.scope),
            id=one.id,
            name=one.name,
            limit=one.limit,
            usage=one.usage,
            percent_used=round(100 * one.usage / one.limit, 1),
        )
        for one in await call.read(op)
    ]


def _top(rows: list[UsageRow], names: dict[str, str]) -> list[Top]:
    found = [(str(row.group[0]), row) for row in rows if row.group[0]]
    return [Top(id=id_, name=names.get(id_, id_), **amounts(row)) for id_, row in found[:_TOP]]


ROUTES = (
    Route(
        "GET",
        "/api/v1/dashboard/stats",
        "show_dashboard",
        "Show the last 24 hours",
        stats,
        Dashboard,
        MEMBER,
        READ,
        tenant="own",
        query=DashboardAsk,
        codes=("not_found",),
        description="Of everything for a system_admin, of the organisation for an org_admin, of the team for "
        "whoever leads one, else of the caller. Warnings begin at 80 % of a token limit.",
    ),
)
