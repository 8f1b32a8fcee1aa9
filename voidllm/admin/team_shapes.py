"""What teams look like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from voidllm.admin.kinds import Count, Id, Listing, Text, Time
from voidllm.admin.limit_shapes import Limited, LimitsPatch, NewLimits, shown
from voidllm.admin.moments import moment
from voidllm.admin.names import Slug
from voidllm.store.teams import TeamRow

Sort = Literal["created_at", "-created_at", "name", "-name", "slug", "-slug"]


class Team(Limited, kw_only=True, frozen=True):
    """A team of an organisation."""

    id: Id
    org_id: Id
    name: str
    slug: str
    member_count: Count
    key_count: Count
    created_at: Time
    updated_at: Time


class TeamList(Listing, kw_only=True):
    """Which teams."""

    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the name or the slug")] | None = None


class NewTeam(NewLimits, kw_only=True):
    """A team to be made."""

    name: Text
    slug: Slug


class TeamPatch(LimitsPatch, kw_only=True):
    """What is to change; null takes a limit away."""

    name: Text | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET


def team_view(team: TeamRow) -> Team:
    """Show a team."""
    return Team(
        id=team.id,
        org_id=team.org_id,
        name=team.name,
        slug=team.slug,
        **shown(team.limits),
        member_count=team.member_count,
        key_count=team.key_count,
        created_at=moment(team.created_at_ms),
        updated_at=moment(team.updated_at_ms or team.created_at_ms),
    )
