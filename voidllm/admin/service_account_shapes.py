"""What service accounts look like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Count, Id, Listing, Named, Ref, Text, Time
from voidllm.admin.moments import moment
from voidllm.store.service_accounts import AccountRow

Sort = Literal["created_at", "-created_at", "name", "-name"]


class ServiceAccount(Struct, kw_only=True, frozen=True):
    """A program that acts on its own."""

    id: Id
    org_id: Id
    team_id: Annotated[Id, Meta(description="null if it is the whole organisation's")] | None
    team: Named | UnsetType | None = UNSET
    name: str
    created_by: Annotated[Id, Meta(description="id of the user who made it, if it was one")] | None
    key_count: Count
    created_at: Time
    updated_at: Time


class AccountList(Listing, kw_only=True):
    """Which service accounts."""

    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the name")] | None = None
    team: Annotated[Ref, Meta(description="id of a team")] | None = None
    created_by: Annotated[Ref, Meta(description="id of a user")] | None = None
    expand: (
        Annotated[list[Literal["team"]], Meta(max_length=1, description="show names, not only ids")] | None
    ) = None


class NewAccount(Asked, kw_only=True):
    """A service account to be made."""

    name: Text
    team_id: Annotated[Ref, Meta(description="id or slug of the team that it is of")] | None = None


class AccountPatch(Asked, kw_only=True):
    """What is to change."""

    name: Text | UnsetType = UNSET


def account_view(account: AccountRow) -> ServiceAccount:
    """Show a service account."""
    return ServiceAccount(
        id=account.id,
        org_id=account.org_id,
        team_id=account.team_id,
        name=account.name,
        created_by=account.created_by,
        key_count=account.key_count,
        created_at=moment(account.created_at_ms),
        updated_at=moment(account.updated_at_ms or account.created_at_ms),
    )
