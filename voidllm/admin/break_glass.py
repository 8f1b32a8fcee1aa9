"""What the operator can do for somebody who cannot log in any more; on the control socket and offline only.

Whoever has the operating system's word for being the operator needs neither a password nor a code.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from voidllm.admin.access import WRITE
from voidllm.admin.auth_shapes import Email
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Asked, Count, Id, Nothing
from voidllm.auth.passwords import new_password
from voidllm.auth.roles import SYSTEM_ADMIN
from voidllm.core.errors import Refusal
from voidllm.store import passwords, totp
from voidllm.store.passwords import Account

_BASE = "/api/v1/operator"


class Whose(Asked):
    """Whose login it is about."""

    email: Email


class NewFirstPassword(Struct, kw_only=True, frozen=True):
    """A password that must be changed at the next login."""

    user_id: Id
    email: str
    password: Annotated[str, Meta(description="shown this once")]
    sessions_ended: Count


class Without(Struct, kw_only=True, frozen=True):
    """Who logs in without a second factor from now on."""

    user_id: Id
    email: str


async def reset_password(call: Call[Nothing, Whose]) -> NewFirstPassword:
    """Give somebody a password that must be changed at the next login; sessions end.

    :raises Refusal: 404 without such a user.
    """
    account = await _find(call)
    context = call.context
    password = new_password(context.world.random_bytes)
    hashed = await context.passwords.hash(password)
    first = await call.read(passwords.first_password, account.id)
    ended = await call.change(passwords.give_password, account.id, hashed, call.now_ms)
    if ended is None:
        raise _nobody()
    if first is not None:
        await context.forget_first_password()
    return NewFirstPassword(user_id=account.id, email=account.email, password=password, sessions_ended=ended)


async def disable_totp(call: Call[Nothing, Whose]) -> Without:
    """Take away the second factor of somebody who has lost it.

    :raises Refusal: 404 without such a user, 409 without a second factor.
    """
    account = await _find(call)
    if await call.change(totp.remove_totp, account.id, "totp_reset") is None:
        raise Refusal(409, "conflict", "this user has no second factor")
    return Without(user_id=account.id, email=account.email)


async def _find(call: Call[Nothing, Whose]) -> Account:
    account = await call.read(passwords.find_account, call.body.email)
    if account is None:
        raise _nobody()
    return account


def _nobody() -> Refusal:
    return Refusal(404, "not_found", "there is no user with this e-mail address", param="email")


ROUTES = (
    Route(
        "POST",
        f"{_BASE}/reset-password",
        "operator_reset_password",
        "Give somebody a password that must be changed at the next login",
        reset_password,
        NewFirstPassword,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=Whose,
        codes=("not_found",),
        operators_only=True,
        example={"email": "ada@example.org"},
    ),
    Route(
        "POST",
        f"{_BASE}/disable-totp",
        "operator_disable_totp",
        "Take away somebody's second factor",
        disable_totp,
        Without,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=Whose,
        codes=("not_found", "conflict"),
        operators_only=True,
        example={"email": "ada@example.org"},
    ),
)
