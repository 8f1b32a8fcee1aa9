"""What can be done with the teams of an organisation."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from voidllm.admin.access import Actor, missing
from voidllm.admin.declare import Call
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.limit_checks import require_settable
from voidllm.admin.limit_shapes import asked, patched
from voidllm.admin.names import unique
from voidllm.admin.paging import envelope, page_of
from voidllm.admin.team_shapes import NewTeam, Team, TeamList, TeamPatch, team_view
from voidllm.auth.roles import ORG_ADMIN, RANKS, rank
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits
from voidllm.store import teams
from voidllm.store.limits_above import Above
from voidllm.store.teams import TeamRow, TeamValues


async def list_teams(call: Call[TeamList, Nothing]) -> Page[Team]:
    """Give one page of the teams of an organisation; to members those that they belong to.

    :raises Refusal: 400.
    """
    query, actor = call.query, call.actor
    page = page_of(query, query.sort)
    only = None if _administers(actor, call.org.id) else tuple(actor.teams)
    found = await call.read(teams.list_teams, call.org.id, only, query.q, page)
    return envelope(
        query,
        query.sort,
        found,
        team_view,
        lambda team: ({"name": team.name, "slug": team.slug}.get(page.sort, ""), team.id),
    )


async def create_team(call: Call[Nothing, NewTeam]) -> Team:
    """Make a team.

    :raises Refusal: 400, 404, or 409 if the slug is taken.
    """
    ask, limits = call.body, asked(call.body)
    new = TeamRow(call.new_id(), call.org.id, ask.name, ask.slug, call.now_ms, limits)

    def check(above: Above) -> None:
        require_settable(Limits(), limits, above, True)

    with unique("slug"):
        made = await call.change(teams.create_team, new, check)
    if made is None:
        raise missing()
    return team_view(made)


async def get_team(call: Call[Nothing, Any]) -> Team:
    """Show one team.

    :raises Refusal: 404.
    """
    found = await call.read(teams.get_team, call.org.id, call.team.id)
    if found is None:
        raise missing()
    return team_view(found)


async def change_team(call: Call[Nothing, TeamPatch]) -> Team:
    """Change some of a team, and show it.

    :raises Refusal: 400, 403 for what only who administers the organisation may, 404, 409 if the slug is
        taken, or 412.
    """
    patch = call.body
    above_it = _administers(call.actor, call.org.id)

    def decide(old: TeamRow, above: Above) -> TeamValues:
        call.demand(team_view(old))
        slug = old.slug if patch.slug is UNSET else patch.slug
        if slug != old.slug and not above_it:
            raise Refusal(403, "forbidden", "this needs the role org_admin", param="slug")
        limits = patched(old.limits, patch)
        require_settable(old.limits, limits, above, above_it)
        return TeamValues(old.name if patch.name is UNSET else patch.name, slug, limits)

    with unique("slug"):
        made = await call.change(teams.change_team, call.org.id, call.team.id, decide, call.now_ms)
    return team_view(made) if made is not None else await get_team(call)


async def delete_team(call: Call[Nothing, Nothing]) -> None:
    """Remove a team with everything that it has.

    :raises Refusal: 404 or 412.
    """

    def check(old: TeamRow) -> None:
        call.demand(team_view(old))

    if await call.change(teams.delete_team, call.org.id, call.team.id, check, call.now_ms) is None:
        raise missing()


def _administers(actor: Actor, org_id: str) -> bool:
    return rank(actor.role_in(org_id) or "") >= RANKS[ORG_ADMIN]
