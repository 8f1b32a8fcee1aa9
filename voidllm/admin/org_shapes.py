"""What organisations look like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from voidllm.admin.kinds import Count, Id, Listing, Text, Time
from voidllm.admin.limit_shapes import Limited, LimitsPatch, NewLimits, shown
from voidllm.admin.moments import moment
from voidllm.admin.names import Slug, Zone
from voidllm.store.orgs import OrgRow

Sort = Literal["created_at", "-created_at", "name", "-name", "slug", "-slug"]


class Org(Limited, kw_only=True, frozen=True):
    """An organisation."""

    id: Id
    name: str
    slug: str
    timezone: Annotated[str, Meta(description="its days begin in it")]
    member_count: Count
    team_count: Count
    created_at: Time
    updated_at: Time


class OrgList(Listing, kw_only=True):
    """Which organisations."""

    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the name or the slug")] | None = None


class NewOrg(NewLimits, kw_only=True):
    """An organisation to be made."""

    name: Text
    slug: Slug
    timezone: Zone = "UTC"


class OrgPatch(LimitsPatch, kw_only=True):
    """What is to change; null takes a limit away, and makes the time zone UTC."""

    name: Text | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    timezone: Zone | UnsetType | None = UNSET


def org_view(org: OrgRow) -> Org:
    """Show an organisation."""
    return Org(
        id=org.id,
        name=org.name,
        slug=org.slug,
        timezone=org.timezone,
        **shown(org.limits),
        member_count=org.member_count,
        team_count=org.team_count,
        created_at=moment(org.created_at_ms),
        updated_at=moment(org.updated_at_ms or org.created_at_ms),
    )
