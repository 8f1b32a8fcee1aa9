"""Logging in with a password, and a second factor where there is one.

Whatever is wrong, the answer is the same and takes as long: it tells nobody which addresses have
accounts, nor whether it was the password or the code. Only to a right password is it said that
a code is missing.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.logger import Logger

from voidllm.admin.access import ANYBODY, Actor, actor_of
from voidllm.admin.auth_shapes import LoggedIn, LoggedInUser, Login
from voidllm.admin.declare import Call, author_of
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing
from voidllm.admin.moments import moment
from voidllm.admin.session_cookies import csrf_token, new_session, require_own_page, set_cookies
from voidllm.auth import backoff, totp
from voidllm.auth.backoff import Subjects
from voidllm.auth.sessions import MOST_PER_USER
from voidllm.core.errors import Refusal, StoreError
from voidllm.store import login_attempts, passwords, standing
from voidllm.store import totp as stored_totp
from voidllm.store.audit import Entry
from voidllm.store.passwords import Account, Proof
from voidllm.store.statements import storable

_CHALLENGE = ((b"www-authenticate", b"Bearer"),)
_log = Logger()


async def log_in(call: Call[Nothing, Login]) -> LoggedIn:
    """Begin a session.

    :raises Refusal: 401 ``unauthorized`` or ``totp_required``, 429 with the time to wait, 403 for a
        cookie that a page of another site asks for.
    """
    ask, context = call.body, call.context
    if ask.totp is not None and ask.recovery_code is not None:
        raise bad("give totp or recovery_code, not both", param="recovery_code")
    if ask.cookie:
        require_own_page(call.client)
    subjects = backoff.subjects_of(context.digester.digest, ask.email, call.client.address)
    known = await count_attempt(call, subjects)
    try:
        account, proof = await _prove(call, subjects, known)
    except Refusal as refusal:
        if refusal.code != "unauthorized":
            # No guess was wrong: the machine is busy, or a code is asked for.
            await call.write(login_attempts.take_back, subjects.all)
        raise
    session, token = new_session(call, account.id, "password")
    author = context.audited and author_of(person_of(account), call.client, call.status)
    made = await context.store.change(author or None, passwords.log_in, session, proof, MOST_PER_USER)
    if made is None:
        await _note_failure(call, account)
        raise _wrong(ask)
    person = await call.read(standing.of_user, account.id)
    if person is None:
        raise _wrong(ask)
    if ask.cookie:
        set_cookies(call, token)
    return LoggedIn(
        token=token,
        csrf_token=csrf_token(context, token),
        expires_at=moment(session.expires_at_ms),
        user=_user_view(account, actor_of(person, session.id)),
    )


async def count_attempt(call: Call[Any, Any], subjects: Subjects) -> bool:
    """Count an attempt beforehand as one that failed, unless it comes too early.

    :returns: whether the account was logged in to from this client lately.
    :raises Refusal: 429.
    """
    now_ms = call.now_ms
    # Read first: whoever comes too early again and again shall not keep the one writer busy.
    found = await call.read(login_attempts.look, subjects.all)
    wait_ms = backoff.wait_ms(subjects, found, now_ms) if subjects.pair in found else 0
    if wait_ms <= 0:
        decide = backoff.decide(subjects, now_ms)
        wait_ms = await call.write(login_attempts.count, subjects.all, decide, now_ms)
        if subjects.pair not in found:
            await call.write(login_attempts.prune, now_ms)
    if wait_ms > 0:
        message = "too many failed attempts; wait as long as Retry-After says"
        raise Refusal(429, "too_many_requests", message, retry_after_ms=wait_ms)
    return backoff.known(found.get(subjects.pair), now_ms)


async def _prove(call: Call[Nothing, Login], subjects: Subjects, known: bool) -> tuple[Account, Proof]:
    """Look at what somebody shows of themselves; what can be used once is used up later.

    :raises Refusal: 401, or 503 if too many log in.
    """
    ask, context = call.body, call.context
    account = await call.read(passwords.find_account, ask.email) if storable(ask.email) else None
    stored = None if account is None else account.password_hash
    right = await context.passwords.verify(stored, ask.password, known=known)
    if account is None or stored is None or not right:
        await _note_failure(call, account)
        raise _wrong(ask)
    proof = Proof(stored, forgiven=(subjects.account, subjects.pair), address=subjects.address)
    proof = await _second_factor(call, account, proof)
    if context.passwords.outdated(stored):
        proof = evolve(proof, better=await context.passwords.hash(ask.password))
    return account, proof


async def _second_factor(call: Call[Nothing, Login], account: Account, proof: Proof) -> Proof:
    factor = await call.read(stored_totp.find_totp, account.id)
    if factor is None or factor.confirmed_at_ms is None:
        return proof
    ask, context = call.body, call.context
    if ask.recovery_code is not None:
        plain = totp.plain_code(ask.recovery_code)
        return evolve(proof, code=code_digest(call, account.id, plain))
    if ask.totp is None:
        message = "the password is right; give a one-time code as totp, or a recovery_code"
        raise Refusal(401, "totp_required", message, param="totp", headers=_CHALLENGE)
    secret = context.secrets.open(factor.secret, stored_totp.TABLE, stored_totp.COLUMN, account.id)
    step = totp.step_of(secret, ask.totp, call.now_ms, factor.last_step)
    if step is None:
        await _note_failure(call, account)
        raise _wrong(ask)
    return evolve(proof, step=step)


def code_digest(call: Call[Any, Any], user_id: str, plain: str) -> str:
    """Give what a recovery code of a user is kept as."""
    return call.context.digester.digest(f"recovery\0{user_id}\0{plain}".encode()).hex()


def _wrong(ask: Login) -> Refusal:
    coded = ask.totp is not None or ask.recovery_code is not None
    what = "email, password or code" if coded else "email or password"
    return Refusal(401, "unauthorized", f"invalid {what}", headers=_CHALLENGE)


def person_of(account: Account) -> Actor:
    """Give somebody who has shown who they are, as the author of what they do."""
    return evolve(ANYBODY, kind="user", user_id=account.id, name=account.name)


async def _note_failure(call: Call[Any, Any], account: Account | None) -> None:
    """Put on record that somebody failed, and whose account it was; never what was typed."""
    context = call.context
    if not context.audited:
        return
    entry = Entry(
        id=call.new_id(),
        at_ms=call.now_ms,
        author=author_of(ANYBODY, call.client, 401),
        action="login_failed",
        resource_type="user",
        resource_id=None if account is None else account.id,
        org_id=None if account is None else account.org_id,
        error_code="unauthorized",
    )
    try:
        await context.store.note([entry])
    except StoreError as error:
        # The refusal itself stands, whether or not it could be written down.
        _log.warn("a failed login was not put on record: {kind}", kind=type(error).__name__)


def _user_view(account: Account, actor: Actor) -> LoggedInUser:
    return LoggedInUser(
        id=account.id,
        email=account.email,
        display_name=account.name,
        role=actor.role,
        org_id=actor.org_id,
        is_system_admin=account.is_system_admin,
        must_change_password=account.must_change_password,
    )
