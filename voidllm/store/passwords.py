"""Passwords and what stands in for them once: hashes, reset tokens, and whose first password must go."""

from __future__ import annotations

from attrs import field, frozen

from voidllm.store import login_attempts, sessions, standing, state, totp
from voidllm.store.changes import Changed
from voidllm.store.sessions import Session
from voidllm.store.statements import Op, Row, q

#: Who vouches for somebody who logs in with a password of ours.
LOCAL = "local"

#: Name of the store's value that says whose first password is in a file; empty once it is changed.
FIRST_ADMIN = "first_admin"


@frozen
class Account:
    """A user as somebody who logs in.

    :ivar password_hash: ``None`` for somebody who cannot log in with a password.
    :ivar auth_provider: ``local``, or who else vouches for the user.
    :ivar org_id: the organisation that the user has belonged to for longest.
    """

    id: str
    email: str
    name: str
    password_hash: str | None = field(repr=False)
    auth_provider: str
    is_system_admin: bool
    must_change_password: bool
    org_id: str | None


_SELECT = (
    "SELECT id, email, name, password_hash, auth_provider, is_system_admin, must_change_password,"
    " (SELECT m.org_id FROM org_memberships m JOIN organizations o ON o.id = m.org_id"
    " WHERE m.user_id = users.id AND o.deleted_at_ms IS NULL ORDER BY m.created_at_ms, m.org_id LIMIT 1)"
    " FROM users WHERE deleted_at_ms IS NULL"
)


def find_account(email: str) -> Op[Account | None]:
    """Find the user with this e-mail address."""
    rows = yield q(_SELECT + " AND lower(email) = lower(?)", email)
    return _account(rows[0]) if len(rows) == 1 else None


def get_account(user_id: str) -> Op[Account | None]:
    """Read a user by id."""
    rows = yield q(_SELECT + " AND id = ?", user_id)
    return _account(rows[0]) if rows else None


@frozen
class Proof:
    """What somebody who logs in has shown, to be used up with the login.

    :ivar hash: the stored hash that the password was found to fit.
    :ivar better: a hash of the same password to keep instead.
    :ivar step: of a one-time code.
    :ivar code: digest of a recovery code.
    :ivar forgiven: whose failed attempts are forgotten; see :mod:`voidllm.store.login_attempts`.
    :ivar address: whose this attempt is taken back.
    """

    hash: str = field(repr=False)
    better: str | None = field(default=None, repr=False)
    step: int | None = None
    code: str | None = field(default=None, repr=False)
    forgiven: tuple[str, ...] = ()
    address: str = ""


def log_in(new: Session, proof: Proof, most: int) -> Op[Changed[Session] | None]:
    """Begin a session and use up what was shown for it, all of it or nothing.

    :returns: ``None`` if the password was changed meanwhile, or the second factor was used before or
        is missing.
    """
    held = yield q(
        "UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ? AND deleted_at_ms IS NULL"
        " RETURNING id",
        proof.better or proof.hash,
        new.user_id,
        proof.hash,
    )
    if not held:
        return None
    if not (yield from _second_factor(new.user_id, proof)):
        return None
    yield from login_attempts.forgive(proof.forgiven, proof.address, new.created_at_ms)
    return (yield from sessions.create_session(new, most))


def _second_factor(user_id: str, proof: Proof) -> Op[bool]:
    if proof.step is not None:
        return (yield from totp.use_step(user_id, proof.step))
    if proof.code is not None:
        return (yield from totp.use_code(user_id, proof.code))
    stored = yield from totp.find_totp(user_id)
    return stored is None or stored.confirmed_at_ms is None


def set_password(
    user_id: str, new_hash: str, old_hash: str | None, keep: str | None, now_ms: int
) -> Op[Changed[int] | None]:
    """Set a password of somebody's own choice; ``None`` if there is no such user, or the old one has changed.

    :param old_hash: what the present password was found to fit, ``None`` for whatever it is.
    :param keep: the session that goes on; all others end.
    """
    rows = yield q(
        "UPDATE users SET password_hash = ?, must_change_password = 0, updated_at_ms = ?"
        " WHERE id = ? AND deleted_at_ms IS NULL AND (? IS NULL OR password_hash = ?) RETURNING id",
        new_hash,
        now_ms,
        user_id,
        old_hash,
        old_hash,
    )
    if not rows:
        return None
    yield q("DELETE FROM password_resets WHERE user_id = ?", user_id)
    # Whatever the first password was, it is no longer good, even if the new one must be changed too.
    yield q("UPDATE meta SET value = '' WHERE name = ? AND value = ?", FIRST_ADMIN, user_id)
    ended = yield from sessions.end_sessions(user_id, keep)
    person = yield from standing.of_user(user_id)
    return Changed(
        ended,
        "password_change",
        "user",
        user_id,
        None if person is None else person.org_id,
        after={"sessions_ended": ended},
        touched=(("user", user_id),),
    )


def give_password(user_id: str, new_hash: str, now_ms: int) -> Op[Changed[int] | None]:
    """Set a password that must be changed at the next login; ``None`` if there is no such user.

    Somebody whom another provider vouches for can log in with it as well.
    """
    changed = yield from set_password(user_id, new_hash, None, None, now_ms)
    if changed is not None:
        yield q("UPDATE users SET must_change_password = 1 WHERE id = ?", user_id)
    return changed


def issue_reset(
    user_id: str, digest: str, created_by: str | None, now_ms: int, expires_at_ms: int
) -> Op[Changed[bool] | None]:
    """Keep the digest of a reset token, in place of an earlier one.

    :returns: ``None`` without such a user, or if somebody else vouches for them.
    """
    account = yield from get_account(user_id)
    if account is None or account.auth_provider != LOCAL:
        return None
    yield q(
        "INSERT INTO password_resets (user_id, hash, created_by, created_at_ms, expires_at_ms)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash,"
        " created_by = excluded.created_by, created_at_ms = excluded.created_at_ms,"
        " expires_at_ms = excluded.expires_at_ms",
        user_id,
        digest,
        created_by,
        now_ms,
        expires_at_ms,
    )
    after = {"expires_at_ms": expires_at_ms}
    return Changed(True, "password_reset_issue", "user", user_id, account.org_id, after=after)


def find_reset(digest: str, now_ms: int) -> Op[Account | None]:
    """Find whose password a reset token is for, if it is still good."""
    rows = yield q("SELECT user_id FROM password_resets WHERE hash = ? AND expires_at_ms > ?", digest, now_ms)
    return (yield from get_account(rows[0][0])) if rows else None


def redeem_reset(digest: str, new_hash: str, now_ms: int) -> Op[Changed[int] | None]:
    """Use up a reset token and set the password; ``None`` if it is used, ended or unknown.

    A token is used up whether or not its user is still there.
    """
    rows = yield q(
        "DELETE FROM password_resets WHERE hash = ? AND expires_at_ms > ? RETURNING user_id", digest, now_ms
    )
    if not rows:
        return None
    return (yield from set_password(rows[0][0], new_hash, None, None, now_ms))


def first_password(changed_by: str | None = None) -> Op[str | None]:
    """Give the id of the first administrator while the password from the first start is still theirs.

    :param changed_by: give it only if it is this one.
    """
    first = yield from state.meta_get(FIRST_ADMIN)
    if not first or changed_by not in (None, first):
        return None
    account = yield from get_account(first)
    return first if account is not None and account.must_change_password else None


def _account(row: Row) -> Account:
    id_, email, name, password_hash, provider, system_admin, must_change, org_id = row
    return Account(id_, email, name, password_hash, provider, bool(system_admin), bool(must_change), org_id)
