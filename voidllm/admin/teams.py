"""``/api/v1/orgs/{org_id}/teams``."""

from __future__ import annotations

from voidllm.admin import team_operations as operations
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Route
from voidllm.admin.kinds import Page
from voidllm.admin.team_shapes import NewTeam, Team, TeamList, TeamPatch
from voidllm.auth.roles import MEMBER, ORG_ADMIN, TEAM_ADMIN

_ALL = "/api/v1/orgs/{org_id}/teams"
_ONE = "/api/v1/orgs/{org_id}/teams/{team_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_teams",
        "List teams",
        operations.list_teams,
        Page[Team],
        MEMBER,
        READ,
        tenant="org",
        query=TeamList,
        description="All to who administers the organisation, to others those that they belong to.",
        tag="teams",
    ),
    Route(
        "POST",
        _ALL,
        "create_team",
        "Make a team",
        operations.create_team,
        Team,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        body=NewTeam,
        status=201,
        codes=("conflict",),
        example={"name": "Search", "slug": "search", "requests_per_minute": 600},
        description="Its limits may not be greater than those of the organisation.",
        tag="teams",
    ),
    Route(
        "GET",
        _ONE,
        "get_team",
        "Show a team",
        operations.get_team,
        Team,
        MEMBER,
        READ,
        tenant="team",
        tagged=True,
        tag="teams",
    ),
    Route(
        "PATCH",
        _ONE,
        "change_team",
        "Change a team",
        operations.change_team,
        Team,
        TEAM_ADMIN,
        WRITE,
        tenant="team",
        body=TeamPatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example={"name": "Search and Ads"},
        description=(
            "A JSON merge patch (RFC 7396). A team_admin changes the name and lowers limits; an org_admin of "
            "the organisation also raises them, within its own, and changes the slug."
        ),
        tag="teams",
    ),
    Route(
        "DELETE",
        _ONE,
        "delete_team",
        "Remove a team",
        operations.delete_team,
        None,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        status=204,
        guarded=True,
        description="Its memberships, service accounts and keys go along at once.",
        tag="teams",
    ),
)
