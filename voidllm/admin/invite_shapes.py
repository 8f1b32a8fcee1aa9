"""What invitations look like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin import kinds
from voidllm.admin.auth_shapes import Password
from voidllm.admin.kinds import Asked, Id, Listing, Named, Once, Text, Time
from voidllm.admin.member_shapes import OrgRole
from voidllm.admin.moments import moment
from voidllm.admin.names import Email
from voidllm.store import invites

Status = Literal["pending", "redeemed", "expired", "revoked"]
Sort = Literal["created_at", "-created_at", "email", "-email", "expires_at", "-expires_at"]
Token = Annotated[str, Meta(min_length=1, max_length=100)]


class InviteList(Listing, kw_only=True):
    """Which invitations."""

    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the address")] | None = None
    status: Status | None = None
    expand: (
        Annotated[list[Literal["created_by"]], Meta(max_length=1, description="show names as creator")] | None
    ) = None


class NewInvite(Asked, kw_only=True):
    """Who is invited."""

    email: Email
    role: Annotated[OrgRole, Meta(description="at most one's own")] = "member"


class Invite(Struct, kw_only=True, frozen=True):
    """An invitation."""

    id: Id
    org_id: Id
    email: str
    role: OrgRole
    token_hint: str
    status: Status
    created_by: Id | None
    creator: Named | UnsetType | None = UNSET
    expires_at: Time
    created_at: Time


class MadeInvite(Invite, kw_only=True, frozen=True):
    """An invitation and what it is followed with."""

    token: Once | UnsetType = UNSET


class Peek(Asked):
    """Which invitation."""

    token: Token


class Peeked(Struct, kw_only=True, frozen=True):
    """What an invitation is to."""

    email: str
    org_name: str
    role: OrgRole
    known: Annotated[bool, Meta(description="there is an account with this address already")]
    expires_at: Time


class Accept(Asked):
    """Which invitation is followed."""

    token: Token


class InviteRedeem(Asked, kw_only=True):
    """Which invitation is followed, and by whom."""

    token: Token
    password: Annotated[
        Password,
        Meta(description="a new one of 12 characters or more; the present one of an account that is there"),
    ]
    display_name: Annotated[kinds.Text, Meta(description="of a new account")] | None = None


class Joined(Struct, kw_only=True, frozen=True):
    """Somebody who is a member now."""

    id: Id
    email: str
    display_name: str
    org_id: Id
    role: OrgRole


def invite_view(invite: invites.Invite, now_ms: int) -> Invite:
    """Show an invitation."""
    return Invite(**_shown(invite, now_ms))


def made_view(invite: invites.Invite, token: str, now_ms: int) -> MadeInvite:
    """Show an invitation that was just made."""
    return MadeInvite(token=token, **_shown(invite, now_ms))


def joined_view(joined: invites.Joined) -> Joined:
    """Show who has joined."""
    return Joined(
        id=joined.user_id,
        email=joined.email,
        display_name=joined.name,
        org_id=joined.org_id,
        role=joined.role,  # type: ignore[arg-type]
    )


def _shown(invite: invites.Invite, now_ms: int) -> dict[str, Any]:
    return {
        "id": invite.id,
        "org_id": invite.org_id,
        "email": invite.email,
        "role": invite.role,
        "token_hint": invite.hint,
        "status": invite.status(now_ms),
        "created_by": invite.created_by,
        "expires_at": moment(invite.expires_at_ms),
        "created_at": moment(invite.created_at_ms),
    }
