"""Passwords: changed by those who know them, reset by those who may manage the person.

Every change ends the person's other sessions and voids what was issued for a reset, in the same
transaction. API keys stay: whoever fears for them revokes them.
"""

from __future__ import annotations

from typing import Any

from voidllm.admin.access_users import managed
from voidllm.admin.declare import Call, author_of
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing
from voidllm.admin.login import count_attempt, person_of
from voidllm.admin.me_operations import removed, require_person
from voidllm.admin.moments import moment
from voidllm.admin.password_shapes import PasswordChange, PasswordChanged, ResetRedeem, ResetToken
from voidllm.auth import backoff
from voidllm.auth.backoff import network_of
from voidllm.auth.keys import generate, looks_like_key
from voidllm.core.errors import Refusal
from voidllm.store import login_attempts, passwords
from voidllm.store.passwords import Account

RESET_MS = 3_600_000


async def change_password(call: Call[Nothing, PasswordChange]) -> PasswordChanged:
    """Give oneself another password.

    :raises Refusal: 400 for the new password, 403 for the present one, 409 for somebody without a password,
        or 429.
    """
    context, ask = call.context, call.body
    user_id = require_person(call.actor)
    account = await call.read(passwords.get_account, user_id)
    if account is None:
        raise removed()
    if account.password_hash is None:
        raise Refusal(
            409, "conflict", "there is no password to change: somebody else vouches for this account"
        )
    require_acceptable(ask.new_password, account)
    if ask.new_password == ask.current_password:
        raise bad("new_password is the present one", param="new_password")
    await prove_password(call, account, ask.current_password)
    hashed = await context.passwords.hash(ask.new_password, account.org_id or account.id)
    first = await call.read(passwords.first_password, user_id)
    ended = await call.change(
        passwords.set_password,
        user_id,
        hashed,
        account.password_hash,
        call.actor.session_id,
        call.now_ms,
    )
    if ended is None:
        raise Refusal(409, "conflict", "the password was changed meanwhile")
    if first is not None:
        await context.forget_first_password()
    return PasswordChanged(sessions_ended=ended)


async def prove_password(call: Call[Any, Any], account: Account, given: str) -> None:
    """Refuse whoever does not know the password of an account that they are logged in to.

    Somebody with a stolen session guesses no faster here than at the login.

    :raises Refusal: 403, or 429.
    """
    context = call.context
    subjects = backoff.subjects_of(context.digester.digest, account.email, call.client.address)
    await count_attempt(call, subjects)
    if not await context.passwords.verify(account.password_hash, given):
        raise Refusal(403, "forbidden", "the present password is wrong", param="current_password")
    await call.write(login_attempts.take_back, subjects.all)


def require_acceptable(password: str, account: Account) -> None:
    """Refuse a new password that everybody would try first.

    :raises Refusal: 400.
    """
    if password.strip().lower() == account.email.strip().lower():
        raise bad("new_password must not be the e-mail address", param="new_password")


async def issue_reset(call: Call[Nothing, Nothing]) -> ResetToken:
    """Make a token by which somebody can choose a new password within the hour.

    :raises Refusal: 404 or 403 for whom the caller may not manage, 409 where somebody else vouches.
    """
    user_id = call.path["user_id"]
    token = generate("reset_token", call.context.world.random_bytes)
    expires_at_ms = call.now_ms + RESET_MS
    made = await call.change(
        managed,
        call.actor,
        user_id,
        passwords.issue_reset,
        _digest(call, token),
        call.actor.user_id,
        call.now_ms,
        expires_at_ms,
    )
    if made is None:
        raise Refusal(
            409, "conflict", "somebody else vouches for this account: there is no password to reset"
        )
    return ResetToken(token=token, expires_at=moment(expires_at_ms))


async def redeem_reset(call: Call[Nothing, ResetRedeem]) -> PasswordChanged:
    """Choose a new password by a token that an administrator has handed out.

    :raises Refusal: 400 for the password, 410 for a token that is used, ended or unknown, 429.
    """
    context, ask = call.context, call.body
    account = None
    # Counted by the client's address alone: whose token it is, if anybody's, is not known yet.
    address = call.client.address
    subjects = backoff.subjects_of(context.digester.digest, f"reset {network_of(address)}", address)
    await count_attempt(call, subjects)
    digest = _digest(call, ask.token)
    if looks_like_key(ask.token.encode("utf-8", "surrogatepass")):
        account = await call.read(passwords.find_reset, digest, call.now_ms)
    if account is None:
        raise _gone()
    await call.write(login_attempts.take_back, subjects.all)
    require_acceptable(ask.new_password, account)
    hashed = await context.passwords.hash(ask.new_password, account.org_id or account.id)
    first = await call.read(passwords.first_password, account.id)
    author = author_of(person_of(account), call.client, call.status) if context.audited else None
    ended = await context.store.change(author, passwords.redeem_reset, digest, hashed, call.now_ms)
    if ended is None:
        raise _gone()
    if first is not None:
        await context.forget_first_password()
    return PasswordChanged(sessions_ended=ended)


def _gone() -> Refusal:
    return Refusal(410, "gone", "this token was used, has ended, or never was")


def _digest(call: Call[Any, Any], token: str) -> str:
    return call.context.digester.digest(b"reset\0" + token.encode("utf-8", "surrogatepass")).hex()
