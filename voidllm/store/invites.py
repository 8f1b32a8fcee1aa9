"""Invitations into organisations: only a digest of the token is here, and it works once."""

from __future__ import annotations

from typing import Any, Mapping

from attrs import field, frozen

from voidllm.core.errors import StoreConflict
from voidllm.store.changes import Changed
from voidllm.store.orgs import lock_org
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.sso_reach import end_borrowed_access
from voidllm.store.statements import PAGE, Op, Row, q
from voidllm.store.users import UserRow, create_user, lock_user

#: How long one that has ended is still listed, in milliseconds.
KEPT_MS = 90 * 24 * 3600 * 1000

# Whoever may not invite any more has invited nobody.
_STANDS = (
    "(i.created_by IS NULL OR EXISTS (SELECT 1 FROM users u WHERE u.id = i.created_by"
    " AND u.deleted_at_ms IS NULL AND (u.is_system_admin = 1 OR EXISTS (SELECT 1 FROM org_memberships m"
    " WHERE m.org_id = i.org_id AND m.user_id = u.id AND m.role = 'org_admin'))))"
)
_SELECT = (
    "SELECT i.id, i.org_id, o.name, i.email, i.role, i.hint, i.created_by, i.created_at_ms,"  # noqa: S608
    " i.expires_at_ms, i.redeemed_at_ms,"
    f" CASE WHEN i.revoked_at_ms IS NOT NULL OR NOT {_STANDS} THEN 1 ELSE 0 END FROM invites i"
    " JOIN organizations o ON o.id = i.org_id AND o.deleted_at_ms IS NULL"
)

#: What lists can be sorted by; ids grow with the time of creation.
SORTS: Mapping[str, str] = {"created_at": "i.id", "email": "i.email", "expires_at": "i.expires_at_ms"}

#: Conditions of each status; the one that holds first counts.
_STATUS: Mapping[str, str] = {
    "redeemed": "i.redeemed_at_ms IS NOT NULL",
    "revoked": f"i.redeemed_at_ms IS NULL AND (i.revoked_at_ms IS NOT NULL OR NOT {_STANDS})",
    "expired": f"i.redeemed_at_ms IS NULL AND i.revoked_at_ms IS NULL AND {_STANDS} AND i.expires_at_ms <= ?",
    "pending": f"i.redeemed_at_ms IS NULL AND i.revoked_at_ms IS NULL AND {_STANDS} AND i.expires_at_ms > ?",
}


@frozen
class Invite:
    """An invitation.

    :ivar email: lower case.
    :ivar role: ``member`` or ``org_admin``.
    :ivar created_by: the user who invited, if it was one.
    :ivar void: it was revoked, or whoever invited may not do so any more.
    """

    id: str
    org_id: str
    org_name: str
    email: str
    role: str
    hint: str
    created_by: str | None
    created_at_ms: int
    expires_at_ms: int
    redeemed_at_ms: int | None = None
    void: bool = False

    def status(self, now_ms: int) -> str:
        """Say what has become of it."""
        if self.redeemed_at_ms is not None:
            return "redeemed"
        if self.void:
            return "revoked"
        return "expired" if self.expires_at_ms <= now_ms else "pending"


@frozen
class Joined:
    """Somebody who has followed an invitation."""

    user_id: str
    email: str
    name: str = field(repr=False)
    org_id: str
    role: str


def list_invites(
    org_id: str, status: str | None, search: str | None, now_ms: int, page: Page
) -> Op[list[Invite]]:
    """Read one page of the invitations into an organisation.

    :param search: is in the address.
    """
    where: list[Condition] = [("i.org_id = ?", (org_id,))]
    if status is not None:
        condition = _STATUS[status]
        where.append((condition, (now_ms,) * condition.count("?")))
    if search is not None:
        where.append(contains(search, "i.email"))
    rows = yield paged(_SELECT, where, SORTS, "i.id", page)
    return list(map(_invite, rows))


def create_invite(new: Invite, digest: str) -> Op[Changed[Invite] | None]:
    """Keep an invitation in place of earlier ones for the same address; nothing without the organisation.

    What ended long ago is forgotten.

    :raises StoreConflict: if the address is a member's.
    """
    if not (yield from lock_org(new.org_id)):
        return None
    members = yield q(
        "SELECT 1 FROM org_memberships m JOIN users u ON u.id = m.user_id AND u.deleted_at_ms IS NULL"
        " WHERE m.org_id = ? AND lower(u.email) = ?",
        new.org_id,
        new.email,
    )
    if members:
        raise StoreConflict("a member already")
    yield q(
        "DELETE FROM invites WHERE id IN"
        " (SELECT id FROM invites WHERE org_id = ? AND expires_at_ms <= ? ORDER BY id LIMIT ?)",
        new.org_id,
        new.created_at_ms - KEPT_MS,
        PAGE,
    )
    earlier = yield q(
        "UPDATE invites SET revoked_at_ms = ? WHERE org_id = ? AND email = ?"
        " AND redeemed_at_ms IS NULL AND revoked_at_ms IS NULL RETURNING id, email, role",
        new.created_at_ms,
        new.org_id,
        new.email,
    )
    yield q(
        "INSERT INTO invites (id, org_id, email, role, hash, hint, created_by, created_at_ms, expires_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        new.id,
        new.org_id,
        new.email,
        new.role,
        digest,
        new.hint,
        new.created_by,
        new.created_at_ms,
        new.expires_at_ms,
    )
    more = tuple(_revoked(new.org_id, row) for row in earlier)
    after = {"email": new.email, "role": new.role, "expires_at_ms": new.expires_at_ms}
    return Changed(new, "create", "invite", new.id, new.org_id, after=after, more=more)


def revoke_invite(org_id: str, invite_id: str, now_ms: int) -> Op[Changed[bool] | None]:
    """Take an invitation back; nothing if it is none that could still be followed."""
    rows = yield q(
        "UPDATE invites SET revoked_at_ms = ? WHERE org_id = ? AND id = ?"
        " AND redeemed_at_ms IS NULL AND revoked_at_ms IS NULL RETURNING id, email, role",
        now_ms,
        org_id,
        invite_id,
    )
    return _revoked(org_id, rows[0]) if rows else None


def find_invite(digest: str, now_ms: int) -> Op[Invite | None]:
    """Find an invitation that can be followed now."""
    rows = yield q(f"{_SELECT} WHERE i.hash = ? AND {_STATUS['pending']}", digest, now_ms)
    return _invite(rows[0]) if rows else None


def join_new(digest: str, new: UserRow, now_ms: int) -> Op[Changed[Joined] | None]:
    """Follow an invitation as somebody new; nothing if it cannot be followed.

    :raises StoreConflict: if the address is somebody's; the invitation can still be followed then.
    """
    invite = yield from _use(digest, new.id, now_ms)
    if invite is None:
        return None
    # To return from here without an outcome would use it up.
    if invite.email != new.email:
        raise StoreConflict("somebody else's invitation")
    made = yield from create_user(new, invite.org_id, invite.role)
    if made is None:
        raise StoreConflict("the organisation is gone")
    joined = Joined(new.id, new.email, new.name, invite.org_id, invite.role)
    return _redeemed(invite, joined, (made,))


def join_known(digest: str, user_id: str, keep: str | None, now_ms: int) -> Op[Changed[Joined] | None]:
    """Follow an invitation as somebody who has an account; nothing if it cannot be followed.

    Sessions that the provider of another organisation can have begun end, as they would go further now.

    :param keep: the session that goes on.
    :raises StoreConflict: if it is not theirs or they are a member already; it can still be followed then.
    """
    invite = yield from _use(digest, user_id, now_ms)
    if invite is None:
        return None
    yield from lock_user(user_id)
    rows = yield q(
        "SELECT email, name FROM users WHERE id = ? AND deleted_at_ms IS NULL AND lower(email) = ?",
        user_id,
        invite.email,
    )
    if not rows:
        raise StoreConflict("somebody else's invitation")
    email, name = rows[0]
    yield q(
        "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, ?, ?)",
        invite.org_id,
        user_id,
        invite.role,
        now_ms,
    )
    yield from end_borrowed_access(user_id, keep)
    made: Changed[Any] = Changed(
        None,
        "create",
        "membership",
        user_id,
        invite.org_id,
        after={"role": invite.role},
        touched=(("user", user_id),),
    )
    return _redeemed(invite, Joined(user_id, email, name, invite.org_id, invite.role), (made,))


def _use(digest: str, user_id: str, now_ms: int) -> Op[Invite | None]:
    """Use an invitation up, if it can be followed."""
    found = yield from find_invite(digest, now_ms)
    if found is None or not (yield from lock_org(found.org_id)):
        return None
    rows = yield q(
        "UPDATE invites SET redeemed_at_ms = ?, redeemed_by = ? WHERE id = ? AND redeemed_at_ms IS NULL"  # noqa: S608
        f" AND id IN (SELECT i.id FROM invites i WHERE i.id = ? AND {_STATUS['pending']}) RETURNING id",
        now_ms,
        user_id,
        found.id,
        found.id,
        now_ms,
    )
    return found if rows else None


def _redeemed(invite: Invite, joined: Joined, more: tuple[Changed[Any], ...]) -> Changed[Joined]:
    after = {"user_id": joined.user_id}
    return Changed(joined, "redeem", "invite", invite.id, invite.org_id, after=after, more=more)


def _revoked(org_id: str, row: Row) -> Changed[bool]:
    id_, email, role = row
    return Changed(True, "revoke", "invite", id_, org_id, before={"email": email, "role": role})


def _invite(row: Row) -> Invite:
    id_, org_id, org_name, email, role, hint, created_by, created, expires, redeemed, void = row
    return Invite(
        id_, org_id, org_name, email, role, hint, created_by, created, expires, redeemed, bool(void)
    )
