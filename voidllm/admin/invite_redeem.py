"""Following an invitation: as somebody new, or into one more organisation.

The token shows who was invited, not who somebody is: whoever has an account shows that they are its
owner, by its password or by being logged in.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

from attrs import evolve

from voidllm.admin.access import ANYBODY
from voidllm.admin.declare import Call, author_of
from voidllm.admin.fields import bad
from voidllm.admin.invite_shapes import Accept, InviteRedeem, Joined, Peek, Peeked, joined_view
from voidllm.admin.kinds import Nothing
from voidllm.admin.login import count_attempt, person_of
from voidllm.admin.me_operations import require_person
from voidllm.admin.moments import moment
from voidllm.auth import backoff
from voidllm.auth.backoff import network_of
from voidllm.auth.keys import looks_like_key
from voidllm.core.errors import Refusal, StoreConflict
from voidllm.store import invites, login_attempts, passwords
from voidllm.store import totp as stored_totp
from voidllm.store.invites import Invite
from voidllm.store.passwords import Account
from voidllm.store.users import UserRow

LEAST_PASSWORD = 12
_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


async def peek(call: Call[Peek, Nothing]) -> Peeked:
    """Say what an invitation is to.

    :raises Refusal: 410 if it cannot be followed, 429.
    """
    invite = await _find(call, call.query.token)
    account = await call.read(passwords.find_account, invite.email)
    return Peeked(
        email=invite.email,
        org_name=invite.org_name,
        role=invite.role,  # type: ignore[arg-type]
        known=account is not None,
        expires_at=moment(invite.expires_at_ms),
    )


async def redeem(call: Call[Nothing, InviteRedeem]) -> Joined:
    """Follow an invitation with a password.

    :raises Refusal: 400 for what a new account needs, 401 for the password of one that is there, 409,
        410, 429.
    """
    invite = await _find(call, call.body.token)
    account = await call.read(passwords.find_account, invite.email)
    return await (_as_new(call, invite) if account is None else _as_known(call, account))


async def accept(call: Call[Nothing, Accept]) -> Joined:
    """Follow an invitation as who is logged in.

    :raises Refusal: 403 if it is somebody else's, 409 for a member, 410, 429.
    """
    user_id = require_person(call.actor)
    invite = await _find(call, call.body.token)
    account = await call.read(passwords.get_account, user_id)
    if account is None or account.email.lower() != invite.email:
        raise Refusal(403, "forbidden", "this invitation is for somebody else", param="token")
    with _conflict():
        digest = _digest(call, call.body.token)
        joined = await call.change(invites.join_known, digest, user_id, call.actor.session_id, call.now_ms)
    if joined is None:
        raise gone()
    return joined_view(joined)


async def _as_new(call: Call[Nothing, InviteRedeem], invite: Invite) -> Joined:
    ask, context = call.body, call.context
    if ask.display_name is None:
        raise bad("display_name is required for a new account", param="display_name")
    if len(ask.password) < LEAST_PASSWORD:
        raise bad(f"password must have {LEAST_PASSWORD} characters or more", param="password")
    if ask.password.strip().lower() == invite.email:
        raise bad("password must not be the e-mail address", param="password")
    hashed = await context.passwords.hash(ask.password, invite.org_id)
    new = UserRow(call.new_id(), invite.email, ask.display_name, call.now_ms, hashed)
    somebody = evolve(ANYBODY, kind="user", user_id=new.id, name=new.name, org_id=invite.org_id)
    author = author_of(somebody, call.client, call.status) if context.audited else None
    with _conflict():
        joined = await context.store.change(
            author, invites.join_new, _digest(call, ask.token), new, call.now_ms
        )
    if joined is None:
        raise gone()
    return joined_view(joined)


async def _as_known(call: Call[Nothing, InviteRedeem], account: Account) -> Joined:
    ask, context = call.body, call.context
    subjects = backoff.subjects_of(context.digester.digest, account.email, call.client.address)
    await count_attempt(call, subjects)
    if not await context.passwords.verify(account.password_hash, ask.password):
        message = "there is an account with this address: give its password, or log in and accept"
        raise Refusal(401, "unauthorized", message, param="password", headers=_CHALLENGE)
    await call.write(login_attempts.take_back, subjects.all)
    factor = await call.read(stored_totp.find_totp, account.id)
    if factor is not None and factor.confirmed_at_ms is not None:
        message = "this account has a second factor: log in and accept"
        raise Refusal(401, "totp_required", message, headers=_CHALLENGE)
    author = author_of(person_of(account), call.client, call.status) if context.audited else None
    with _conflict():
        joined = await context.store.change(
            author, invites.join_known, _digest(call, ask.token), account.id, None, call.now_ms
        )
    if joined is None:
        raise gone()
    return joined_view(joined)


async def _find(call: Call[Any, Any], token: str) -> Invite:
    """Find an invitation that can be followed; strangers cannot try many.

    :raises Refusal: 410 or 429.
    """
    address = call.client.address
    subjects = backoff.subjects_of(call.context.digester.digest, f"invite {network_of(address)}", address)
    await count_attempt(call, subjects)
    invite = None
    if looks_like_key(token.encode("utf-8", "surrogatepass")):
        invite = await call.read(invites.find_invite, _digest(call, token), call.now_ms)
    if invite is None:
        raise gone()
    await call.write(login_attempts.take_back, subjects.all)
    return invite


@contextmanager
def _conflict() -> Iterator[None]:
    try:
        yield
    except StoreConflict:
        message = "this address has an account or is a member already"
        raise Refusal(409, "conflict", message) from None


def _digest(call: Call[Any, Any], token: str) -> str:
    return call.context.digester.digest(token.encode("utf-8", "surrogatepass")).hex()


def gone() -> Refusal:
    """Make the 410 of an invitation that cannot be followed, whatever the reason."""
    return Refusal(410, "gone", "this invitation is used, ended, taken back, or never was")
