"""``/api/v1/orgs/{org_id}/teams/{team_id}/members``: who belongs to a team."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from voidllm.admin.access import READ, WRITE, missing, require_not_above_in
from voidllm.admin.declare import Call, Route
from voidllm.admin.expanding import expanded
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.member_shapes import (
    NewTeamMember,
    TeamMember,
    TeamMemberList,
    TeamMemberPatch,
    team_member_view,
)
from voidllm.admin.names import unique
from voidllm.admin.paging import envelope, page_of
from voidllm.auth.roles import TEAM_ADMIN
from voidllm.store import team_memberships
from voidllm.store.memberships import Membership
from voidllm.store.team_memberships import TeamMembership


async def list_team_members(call: Call[TeamMemberList, Nothing]) -> Page[TeamMember]:
    """Give one page of the members of a team.

    :raises Refusal: 400.
    """
    query = call.query
    page = page_of(query, query.sort)
    found = await call.read(team_memberships.list_team_members, call.team.id, query.role, query.q, page)
    shown = envelope(
        query,
        query.sort,
        found,
        team_member_view,
        lambda member: (member.email if page.sort == "email" else member.name, member.user_id),
    )
    return await expanded(call.context.store, shown, query.expand or ())


async def add_team_member(call: Call[Nothing, NewTeamMember]) -> TeamMember:
    """Make a member of the organisation one of the team.

    :raises Refusal: 403 for somebody above oneself, 404 for the user, 409 if they are one already.
    """
    ask = call.body

    def check(person: Membership) -> None:
        require_not_above_in(call.actor, person.org_id, person.rank)

    with unique("user_id"):
        made = await call.change(
            team_memberships.add_team_member,
            call.org.id,
            call.team.id,
            ask.user_id,
            ask.role,
            check,
            call.now_ms,
        )
    if made is None:
        raise missing("user_id")
    return team_member_view(made)


async def get_team_member(call: Call[Nothing, Any]) -> TeamMember:
    """Show one membership.

    :raises Refusal: 404.
    """
    found = await call.read(team_memberships.get_team_member, call.team.id, call.path["user_id"])
    if found is None:
        raise missing()
    return team_member_view(found)


async def change_team_member(call: Call[Nothing, TeamMemberPatch]) -> TeamMember:
    """Give a member of a team another role, and show them.

    :raises Refusal: 403 for somebody above oneself, 404, or 412.
    """
    patch = call.body

    def decide(old: TeamMembership) -> str:
        _check(call, old)
        return old.role if patch.role is UNSET else patch.role

    made = await call.change(
        team_memberships.change_team_member, call.org.id, call.team.id, call.path["user_id"], decide
    )
    return team_member_view(made) if made is not None else await get_team_member(call)


async def remove_team_member(call: Call[Nothing, Nothing]) -> None:
    """Take somebody out of a team.

    :raises Refusal: 403 for somebody above oneself, 404, or 412.
    """

    def check(old: TeamMembership) -> None:
        _check(call, old)

    made = await call.change(
        team_memberships.remove_team_member,
        call.org.id,
        call.team.id,
        call.path["user_id"],
        check,
        call.now_ms,
    )
    if made is None:
        raise missing()


def _check(call: Call[Nothing, Any], old: TeamMembership) -> None:
    require_not_above_in(call.actor, old.org_id, old.rank)
    call.demand(team_member_view(old))


_ALL = "/api/v1/orgs/{org_id}/teams/{team_id}/members"
_ONE = "/api/v1/orgs/{org_id}/teams/{team_id}/members/{user_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_team_members",
        "List the members of a team",
        list_team_members,
        Page[TeamMember],
        TEAM_ADMIN,
        READ,
        tenant="team",
        query=TeamMemberList,
        tag="teams",
    ),
    Route(
        "POST",
        _ALL,
        "add_team_member",
        "Make somebody a member of a team",
        add_team_member,
        TeamMember,
        TEAM_ADMIN,
        WRITE,
        tenant="team",
        body=NewTeamMember,
        status=201,
        codes=("conflict",),
        example={"user_id": "0199c0de-7a1b-7c3d-8e9f-0123456789ab", "role": "team_admin"},
        description="Of somebody who belongs to the organisation and stands not above the caller.",
        tag="teams",
    ),
    Route(
        "GET",
        _ONE,
        "get_team_member",
        "Show a membership of a team",
        get_team_member,
        TeamMember,
        TEAM_ADMIN,
        READ,
        tenant="team",
        tagged=True,
        tag="teams",
    ),
    Route(
        "PATCH",
        _ONE,
        "change_team_member",
        "Give a member of a team another role",
        change_team_member,
        TeamMember,
        TEAM_ADMIN,
        WRITE,
        tenant="team",
        body=TeamMemberPatch,
        tagged=True,
        guarded=True,
        example={"role": "member"},
        description="A JSON merge patch (RFC 7396).",
        tag="teams",
    ),
    Route(
        "DELETE",
        _ONE,
        "remove_team_member",
        "Take somebody out of a team",
        remove_team_member,
        None,
        TEAM_ADMIN,
        WRITE,
        tenant="team",
        status=204,
        guarded=True,
        description="Their keys that are bound to the team are revoked at once.",
        tag="teams",
    ),
)
