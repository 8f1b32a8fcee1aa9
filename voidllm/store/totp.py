"""Second factors of users: a sealed secret each, and recovery codes that are used once."""

from __future__ import annotations

from typing import Iterable

from attrs import field, frozen

from voidllm.store import standing
from voidllm.store.changes import Changed
from voidllm.store.statements import Op, q

#: Of the cell that a secret is sealed for; the user's id is the row's.
TABLE, COLUMN = "totp", "secret"


@frozen
class StoredTotp:
    """A user's second factor.

    :ivar secret: sealed.
    :ivar confirmed_at_ms: since when it is asked for; ``None`` until a first code was right.
    :ivar last_step: time step of the last code that was used.
    """

    secret: str = field(repr=False)
    created_at_ms: int
    confirmed_at_ms: int | None
    last_step: int


def find_totp(user_id: str) -> Op[StoredTotp | None]:
    """Read the second factor of a user, confirmed or not."""
    rows = yield q(
        "SELECT secret, created_at_ms, confirmed_at_ms, last_step FROM totp WHERE user_id = ?", user_id
    )
    return StoredTotp(*rows[0]) if rows else None


def count_codes(user_id: str) -> Op[int]:
    """Count the recovery codes that a user has left."""
    rows = yield q("SELECT count(*) FROM recovery_codes WHERE user_id = ?", user_id)
    return int(rows[0][0])


def begin_totp(user_id: str, sealed: str, now_ms: int) -> Op[Changed[bool] | None]:
    """Keep a new secret that is not asked for yet; ``None`` if the user has a confirmed one."""
    rows = yield q(
        "INSERT INTO totp (user_id, secret, created_at_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET"
        " secret = excluded.secret, created_at_ms = excluded.created_at_ms, last_step = 0"
        " WHERE totp.confirmed_at_ms IS NULL RETURNING user_id",
        user_id,
        sealed,
        now_ms,
    )
    if not rows:
        return None
    return (yield from _changed(user_id, "totp_begin"))


def confirm_totp(
    user_id: str, sealed: str, step: int, codes: Iterable[str], keep: str | None, now_ms: int
) -> Op[Changed[bool] | None]:
    """Ask for the second factor from now on; ``None`` if there is none to confirm.

    :param sealed: the secret that the first code was right for, as it was read.

    :param codes: digests of the recovery codes.
    :param keep: the session in which this is done; what else was logged in without it ends.
    """
    rows = yield q(
        "UPDATE totp SET confirmed_at_ms = ?, last_step = ?"
        " WHERE user_id = ? AND secret = ? AND confirmed_at_ms IS NULL RETURNING user_id",
        now_ms,
        step,
        user_id,
        sealed,
    )
    if not rows:
        return None
    yield from _put_codes(user_id, codes)
    yield q("DELETE FROM sessions WHERE user_id = ? AND id <> ?", user_id, keep or "")
    return (yield from _changed(user_id, "totp_enable", before=False, after=True))


def renew_codes(user_id: str, codes: Iterable[str]) -> Op[Changed[bool] | None]:
    """Put other recovery codes in the place of a user's; ``None`` without a confirmed second factor."""
    stored = yield from find_totp(user_id)
    if stored is None or stored.confirmed_at_ms is None:
        return None
    yield from _put_codes(user_id, codes)
    return (yield from _changed(user_id, "recovery_codes_renew"))


def use_step(user_id: str, step: int) -> Op[bool]:
    """Use up a one-time code and all earlier ones; ``False`` if somebody has done so before."""
    rows = yield q(
        "UPDATE totp SET last_step = ? WHERE user_id = ? AND confirmed_at_ms IS NOT NULL AND last_step < ?"
        " RETURNING user_id",
        step,
        user_id,
        step,
    )
    return bool(rows)


def use_code(user_id: str, digest: str) -> Op[bool]:
    """Use up a recovery code; ``False`` if the user has no such."""
    rows = yield q(
        "DELETE FROM recovery_codes WHERE user_id = ? AND hash = ? RETURNING user_id", user_id, digest
    )
    return bool(rows)


def remove_totp(user_id: str, action: str = "totp_disable") -> Op[Changed[bool] | None]:
    """Take a user's second factor away; ``None`` if there is none."""
    rows = yield q("DELETE FROM totp WHERE user_id = ? RETURNING confirmed_at_ms", user_id)
    if not rows:
        return None
    yield q("DELETE FROM recovery_codes WHERE user_id = ?", user_id)
    return (yield from _changed(user_id, action, before=rows[0][0] is not None, after=False))


def _put_codes(user_id: str, codes: Iterable[str]) -> Op[None]:
    yield q("DELETE FROM recovery_codes WHERE user_id = ?", user_id)
    for digest in sorted(codes):
        yield q("INSERT INTO recovery_codes (user_id, hash) VALUES (?, ?)", user_id, digest)


def _changed(
    user_id: str, action: str, before: bool | None = None, after: bool | None = None
) -> Op[Changed[bool]]:
    person = yield from standing.of_user(user_id)
    return Changed(
        True,
        action,
        "user",
        user_id,
        None if person is None else person.org_id,
        before=None if before is None else {"totp": before},
        after=None if after is None else {"totp": after},
    )
