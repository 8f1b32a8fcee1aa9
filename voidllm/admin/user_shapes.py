"""What people look like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.auth_shapes import NewPassword
from voidllm.admin.kinds import Asked, Id, Listing, Ref, Text, Time
from voidllm.admin.moments import moment
from voidllm.admin.names import Email
from voidllm.store.users import UserRow

OrgRole = Literal["member", "org_admin"]
Sort = Literal["created_at", "-created_at", "email", "-email", "display_name", "-display_name"]


class User(Struct, kw_only=True, frozen=True):
    """A person."""

    id: Id
    email: str
    display_name: str
    auth_provider: Annotated[str, Meta(description="`local`, or who else vouches for them")]
    has_password: bool
    is_system_admin: bool
    must_change_password: bool
    created_at: Time
    updated_at: Time


class UserList(Listing, kw_only=True):
    """Which people."""

    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the address or the name")] | None = None
    org: Annotated[Ref, Meta(description="id or slug of an organisation that they belong to")] | None = None
    is_system_admin: bool | None = None


class NewUser(Asked, kw_only=True):
    """A person to be made."""

    email: Email
    display_name: Text
    password: Annotated[NewPassword, Meta(description="none by default; an invite or a reset sets one")] | (
        None
    ) = None
    must_change_password: Annotated[bool, Meta(description="before anything else")] = False
    is_system_admin: bool = False
    org_id: Annotated[Ref, Meta(description="id or slug; only a system_admin may do without")] | None = None
    role: Annotated[OrgRole, Meta(description="in that organisation")] = "member"


class UserPatch(Asked, kw_only=True):
    """What is to change."""

    email: Email | UnsetType = UNSET
    display_name: Text | UnsetType = UNSET
    password: Annotated[NewPassword, Meta(description="ends all sessions")] | UnsetType = UNSET
    must_change_password: bool | UnsetType = UNSET
    is_system_admin: bool | UnsetType = UNSET


def user_view(user: UserRow) -> User:
    """Show a person."""
    return User(
        id=user.id,
        email=user.email,
        display_name=user.name,
        auth_provider=user.auth_provider,
        has_password=user.has_password,
        is_system_admin=user.is_system_admin,
        must_change_password=user.must_change_password,
        created_at=moment(user.created_at_ms),
        updated_at=moment(user.updated_at_ms or user.created_at_ms),
    )
