"""``/api/v1/orgs/{org_id}/invites`` and ``/api/v1/invites``."""

from __future__ import annotations

from msgspec import UNSET, structs

from voidllm.admin import invite_redeem
from voidllm.admin.access import READ, WRITE, missing, require_not_above_in
from voidllm.admin.declare import Call, Route
from voidllm.admin.invite_shapes import (
    Accept,
    Invite,
    InviteList,
    InviteRedeem,
    Joined,
    MadeInvite,
    NewInvite,
    Peek,
    Peeked,
    invite_view,
    made_view,
)
from voidllm.admin.kinds import Named, Nothing, Page
from voidllm.admin.paging import envelope, page_of
from voidllm.auth.keys import generate, hint
from voidllm.auth.roles import MEMBER, ORG_ADMIN
from voidllm.core.errors import Refusal, StoreConflict
from voidllm.store import invites

LIFETIME_MS = 7 * 24 * 3600 * 1000


async def list_invites(call: Call[InviteList, Nothing]) -> Page[Invite]:
    """List the invitations into an organisation."""
    ask, now_ms = call.query, call.now_ms
    rows = await call.read(
        invites.list_invites, call.org.id, ask.status, ask.q, now_ms, page_of(ask, ask.sort)
    )
    name = ask.sort.removeprefix("-")
    found = envelope(
        ask, ask.sort, rows, lambda row: invite_view(row, now_ms), lambda row: (_position(name, row), row.id)
    )
    return await _with_names(call, found) if ask.expand else found


async def invite(call: Call[Nothing, NewInvite]) -> MadeInvite:
    """Invite somebody.

    :raises Refusal: 403 for a role above the caller's, 409 for a member.
    """
    ask, now_ms = call.body, call.now_ms
    require_not_above_in(call.actor, call.org.id, ask.role)
    token = generate("invite_token", call.context.world.random_bytes)
    new = invites.Invite(
        id=call.new_id(),
        org_id=call.org.id,
        org_name=call.org.name,
        email=ask.email.lower(),
        role=ask.role,
        hint=hint(token),
        created_by=call.actor.user_id,
        created_at_ms=now_ms,
        expires_at_ms=now_ms + LIFETIME_MS,
    )
    digest = call.context.digester.digest(token.encode("ascii")).hex()
    try:
        made = await call.change(invites.create_invite, new, digest)
    except StoreConflict:
        raise Refusal(409, "conflict", "this address is a member's already", param="email") from None
    if made is None:
        raise missing()
    return made_view(made, token, now_ms)


async def revoke(call: Call[Nothing, Nothing]) -> None:
    """Take an invitation back.

    :raises Refusal: 404 if there is none that could be followed.
    """
    if await call.change(invites.revoke_invite, call.org.id, call.path["invite_id"], call.now_ms) is None:
        raise missing()


def _position(name: str, row: invites.Invite) -> str | int:
    return row.email if name == "email" else row.expires_at_ms if name == "expires_at" else row.id


async def _with_names(call: Call[InviteList, Nothing], page: Page[Invite]) -> Page[Invite]:
    ids = {row.created_by for row in page.data if row.created_by is not None}
    found = await call.context.store.named("user", ids) if ids else {}
    shown = {
        id_: Named(id=id_, name=one.name, email=UNSET if one.email is None else one.email)
        for id_, one in found.items()
    }
    rows = [structs.replace(row, creator=shown.get(row.created_by or "")) for row in page.data]
    return structs.replace(page, data=rows)


_ALL = "/api/v1/orgs/{org_id}/invites"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_invites",
        "List the invitations into an organisation",
        list_invites,
        Page[Invite],
        ORG_ADMIN,
        READ,
        tenant="org",
        query=InviteList,
    ),
    Route(
        "POST",
        _ALL,
        "create_invite",
        "Invite somebody into an organisation",
        invite,
        MadeInvite,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        body=NewInvite,
        status=201,
        codes=("conflict",),
        secrets=("token",),
        example={"email": "ann@example.org", "role": "member"},
        description=(
            "The token is shown this once and works once within seven days; earlier invitations of the same"
            " address end. Whoever may not invite any more has invited nobody."
        ),
    ),
    Route(
        "DELETE",
        f"{_ALL}/{{invite_id}}",
        "revoke_invite",
        "Take an invitation back",
        revoke,
        None,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        status=204,
    ),
    Route(
        "GET",
        "/api/v1/invites/peek",
        "peek_invite",
        "Show what an invitation is to",
        invite_redeem.peek,
        Peeked,
        None,
        tenant="none",
        query=Peek,
        codes=("gone", "too_many_requests"),
    ),
    Route(
        "POST",
        "/api/v1/invites/redeem",
        "redeem_invite",
        "Follow an invitation with a password",
        invite_redeem.redeem,
        Joined,
        None,
        tenant="none",
        body=InviteRedeem,
        status=201,
        codes=("unauthorized", "totp_required", "conflict", "gone", "too_many_requests"),
        example={"token": "vl_iv_...", "password": "correct horse battery staple", "display_name": "Ann"},
        description=(
            "Makes an account, or adds the organisation to the one with this address. Whoever signs on at an"
            " identity provider, or has a second factor, logs in and uses `/invites/accept`."
        ),
    ),
    Route(
        "POST",
        "/api/v1/invites/accept",
        "accept_invite",
        "Follow an invitation as who is logged in",
        invite_redeem.accept,
        Joined,
        MEMBER,
        WRITE,
        tenant="self",
        body=Accept,
        codes=("conflict", "gone", "too_many_requests"),
        example={"token": "vl_iv_..."},
    ),
)
