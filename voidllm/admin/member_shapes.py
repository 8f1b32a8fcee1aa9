"""What memberships of organisations and of teams look like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Id, Listing, Named, Ref, Text, Time
from voidllm.admin.moments import moment
from voidllm.store.memberships import Membership
from voidllm.store.team_memberships import TeamMembership

OrgRole = Literal["member", "org_admin"]
TeamRole = Literal["member", "team_admin"]
Sort = Literal["email", "-email", "display_name", "-display_name"]
Expand = Annotated[list[Literal["user"]], Meta(max_length=1, description="show names, not only ids")]


class Member(Struct, kw_only=True, frozen=True):
    """Somebody as a member of an organisation."""

    id: Annotated[Id, Meta(description="the user's id")]
    org_id: Id
    user_id: Id
    user: Named | UnsetType | None = UNSET
    role: OrgRole
    created_at: Time


class TeamMember(Struct, kw_only=True, frozen=True):
    """Somebody as a member of a team."""

    id: Annotated[Id, Meta(description="the user's id")]
    team_id: Id
    user_id: Id
    user: Named | UnsetType | None = UNSET
    role: TeamRole
    created_at: Time


class MemberList(Listing, kw_only=True):
    """Which members of an organisation."""

    sort: Sort = "email"
    q: Annotated[Text, Meta(description="is in the address or the name")] | None = None
    role: OrgRole | None = None
    expand: Expand | None = None


class TeamMemberList(Listing, kw_only=True):
    """Which members of a team."""

    sort: Sort = "email"
    q: Annotated[Text, Meta(description="is in the address or the name")] | None = None
    role: TeamRole | None = None
    expand: Expand | None = None


class NewMember(Asked, kw_only=True):
    """Somebody to be made a member of an organisation."""

    user_id: Ref
    role: OrgRole = "member"


class NewTeamMember(Asked, kw_only=True):
    """A member of the organisation to be made one of a team."""

    user_id: Ref
    role: TeamRole = "member"


class MemberPatch(Asked, kw_only=True):
    """What is to change."""

    role: OrgRole | UnsetType = UNSET


class TeamMemberPatch(Asked, kw_only=True):
    """What is to change."""

    role: TeamRole | UnsetType = UNSET


def member_view(member: Membership) -> Member:
    """Show a membership of an organisation."""
    return Member(
        id=member.user_id,
        org_id=member.org_id,
        user_id=member.user_id,
        role=cast(Any, member.role),
        created_at=moment(member.created_at_ms),
    )


def team_member_view(member: TeamMembership) -> TeamMember:
    """Show a membership of a team."""
    return TeamMember(
        id=member.user_id,
        team_id=member.team_id,
        user_id=member.user_id,
        role=cast(Any, member.role),
        created_at=moment(member.created_at_ms),
    )
