"""Second factors: set up in two steps, taken away by their owner or by who may manage the person."""

from __future__ import annotations

from typing import Any

from voidllm.admin.access import missing
from voidllm.admin.access_users import managed
from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing
from voidllm.admin.login import code_digest, count_attempt
from voidllm.admin.me_operations import removed, require_person
from voidllm.admin.password_operations import prove_password
from voidllm.admin.totp_shapes import Confirm, Prove, RecoveryCodes, Secret
from voidllm.auth import backoff
from voidllm.auth import totp as codes
from voidllm.core.errors import Refusal
from voidllm.store import login_attempts, passwords
from voidllm.store import totp as store
from voidllm.store.passwords import Account
from voidllm.store.statements import Op
from voidllm.store.totp import StoredTotp


async def begin(call: Call[Nothing, Prove]) -> Secret:
    """Make a secret for an authenticator app; it is asked for once a first code has confirmed it.

    :raises Refusal: 400 or 403 for the password, 409 if there is a confirmed one, or 429.
    """
    account = await _account(call)
    await _prove(call, account, call.body)
    secret = codes.new_secret(call.context.world.random_bytes)
    sealed = call.context.secrets.seal(secret, store.TABLE, store.COLUMN, account.id)
    if await call.change(store.begin_totp, account.id, sealed, call.now_ms) is None:
        raise Refusal(409, "conflict", "there is a second factor already; take it away first")
    return Secret(secret=secret, uri=codes.uri_of(secret, account.email))


async def confirm(call: Call[Nothing, Confirm]) -> RecoveryCodes:
    """Show that the app works; from now on codes are asked for, and sessions without one end.

    :raises Refusal: 400 for a wrong code, 409 if there is nothing to confirm, or 429.
    """
    account = await _account(call)
    factor = await call.read(store.find_totp, account.id)
    if factor is None or factor.confirmed_at_ms is not None:
        raise Refusal(409, "conflict", "there is no second factor to confirm")
    step = await _step(call, account, factor, call.body.totp)
    made = codes.recovery_codes(call.context.world.random_bytes)
    digests = [code_digest(call, account.id, codes.plain_code(code)) for code in made]
    confirmed = await call.change(
        store.confirm_totp, account.id, factor.secret, step, digests, call.actor.session_id, call.now_ms
    )
    if confirmed is None:
        raise Refusal(409, "conflict", "there is no second factor to confirm")
    return RecoveryCodes(recovery_codes=list(made))


async def renew_codes(call: Call[Nothing, Prove]) -> RecoveryCodes:
    """Make new recovery codes; the old ones are void.

    :raises Refusal: 400 or 403 for password or code, 409 without a second factor, or 429.
    """
    account = await _account(call)
    await _prove(call, account, call.body)
    made = codes.recovery_codes(call.context.world.random_bytes)
    digests = [code_digest(call, account.id, codes.plain_code(code)) for code in made]
    if await call.change(store.renew_codes, account.id, digests) is None:
        raise Refusal(409, "conflict", "there is no second factor")
    return RecoveryCodes(recovery_codes=list(made))


async def remove(call: Call[Nothing, Prove]) -> None:
    """Take one's own second factor away.

    :raises Refusal: 400 or 403 for password or code, 404 without a second factor, or 429.
    """
    account = await _account(call)
    await _prove(call, account, call.body)
    if await call.change(store.remove_totp, account.id) is None:
        raise missing()


async def reset(call: Call[Nothing, Nothing]) -> None:
    """Take away the second factor of somebody who has lost it.

    :raises Refusal: 404 or 403 for whom the caller may not manage, 404 without a second factor.
    """
    user_id = call.path["user_id"]
    if await call.change(managed, call.actor, user_id, _reset) is None:
        raise missing()


def _reset(user_id: str) -> Op[Any]:
    return (yield from store.remove_totp(user_id, "totp_reset"))


async def _account(call: Call[Any, Any]) -> Account:
    account = await call.read(passwords.get_account, require_person(call.actor))
    if account is None:
        raise removed()
    return account


async def _prove(call: Call[Any, Any], account: Account, given: Prove) -> None:
    """Refuse whoever has no more than the session.

    :raises Refusal: 400 with neither a password nor a code, 403 for a wrong one, or 429.
    """
    if given.current_password is not None:
        await prove_password(call, account, given.current_password)
        return
    factor = await call.read(store.find_totp, account.id)
    confirmed = factor is not None and factor.confirmed_at_ms is not None
    if factor is not None and confirmed and given.totp is not None:
        step = await _step(call, account, factor, given.totp)
        if not await call.write(store.use_step, account.id, step):
            raise _wrong_code()
        return
    if account.password_hash is None and not confirmed:
        # Somebody else vouches for this person, who has nothing to show here.
        return
    raise bad("give current_password, or a one-time code as totp", param="current_password")


async def _step(call: Call[Any, Any], account: Account, factor: StoredTotp, code: str) -> int:
    """Find which code it is, if it is one; as slow to guess as at the login.

    :raises Refusal: 403, or 429.
    """
    context = call.context
    subjects = backoff.subjects_of(context.digester.digest, account.email, call.client.address)
    await count_attempt(call, subjects)
    secret = context.secrets.open(factor.secret, store.TABLE, store.COLUMN, account.id)
    step = codes.step_of(secret, code, call.now_ms, factor.last_step)
    if step is None:
        raise _wrong_code()
    await call.write(login_attempts.take_back, subjects.all)
    return step


def _wrong_code() -> Refusal:
    return Refusal(403, "forbidden", "the one-time code is wrong, or was used before", param="totp")
