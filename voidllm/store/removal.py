"""What goes along with something that is removed: keys are revoked, sessions end, memberships are gone.

All of it is in the transaction of the removal, so that nobody is ever without what their key needs.
"""

from __future__ import annotations

from typing import Any

from voidllm.store import sessions
from voidllm.store.changes import Changed
from voidllm.store.statements import PAGE, Op, Row, Rows, q

#: How many things of one kind get entries of their own in the audit log; more get one together.
LISTED = 100

#: What lets somebody in besides a key, by the id of the user. Who they are at identity providers is kept,
#: so that whoever was removed is known there and not made anew by signing on.
_WAYS_IN = ("password_resets", "recovery_codes", "totp")

_HOMELESS = (
    "DELETE FROM sessions WHERE user_id IN (SELECT m.user_id FROM org_memberships m"
    " JOIN users u ON u.id = m.user_id WHERE m.org_id = ? AND (? IS NULL OR m.user_id = ?)"
    " AND u.is_system_admin = 0 AND NOT EXISTS (SELECT 1 FROM org_memberships e"
    " JOIN organizations o ON o.id = e.org_id AND o.deleted_at_ms IS NULL"
    " WHERE e.user_id = m.user_id AND e.org_id <> m.org_id))"
)

Cascade = tuple[Changed[Any], ...]


def tombstone(id_: str) -> str:
    """Give what is put behind a unique name of a removed thing, so that the name can be used again."""
    return f":deleted:{id_}"


def of_org(org_id: str, now_ms: int) -> Op[Cascade]:
    """Take along what an organisation has: teams, service accounts, memberships, keys, sessions, ways in."""
    keys = yield from _revoke_keys("org_id = ?", (org_id,), org_id, now_ms)
    accounts = yield from _delete_accounts("org_id = ?", (org_id,), org_id, now_ms)
    yield q("DELETE FROM team_memberships WHERE org_id = ?", org_id)
    teams = yield q(
        "UPDATE teams SET deleted_at_ms = ?, updated_at_ms = ?, slug = slug || ':deleted:' || id"
        " WHERE org_id = ? AND deleted_at_ms IS NULL RETURNING id, name, id, org_id",
        now_ms,
        now_ms,
        org_id,
    )
    yield from _end_sessions(org_id, None)
    yield q(
        "UPDATE invites SET revoked_at_ms = ? WHERE org_id = ?"
        " AND redeemed_at_ms IS NULL AND revoked_at_ms IS NULL",
        now_ms,
        org_id,
    )
    yield q("DELETE FROM sso_domains WHERE org_id = ?", org_id)
    yield q("DELETE FROM org_sso WHERE org_id = ?", org_id)
    yield q("DELETE FROM sso_identities WHERE provider = ?", org_id)
    members = yield q(
        "DELETE FROM org_memberships WHERE org_id = ? RETURNING user_id, role, NULL, org_id", org_id
    )
    return (
        *keys,
        *accounts,
        *_told("delete", "team", teams, org_id),
        *_told("delete", "membership", members, org_id, "role"),
    )


def of_team(org_id: str, team_id: str, now_ms: int) -> Op[Cascade]:
    """Take along what a team has: memberships, service accounts, and keys that are bound to it."""
    keys = yield from _revoke_keys("team_id = ?", (team_id,), org_id, now_ms)
    accounts = yield from _delete_accounts("team_id = ?", (team_id,), org_id, now_ms)
    members = yield q(
        "DELETE FROM team_memberships WHERE team_id = ? RETURNING user_id, role, team_id, org_id", team_id
    )
    return (*keys, *accounts, *_told("delete", "team_membership", members, org_id, "role"))


def of_account(org_id: str, account_id: str, now_ms: int) -> Op[Cascade]:
    """Take along the keys of a service account."""
    return (yield from _revoke_keys("service_account_id = ?", (account_id,), org_id, now_ms))


def of_member(org_id: str, user_id: str, now_ms: int) -> Op[Cascade]:
    """Take along what somebody has in one organisation: team memberships and keys."""
    keys = yield from _revoke_keys("user_id = ? AND org_id = ?", (user_id, org_id), org_id, now_ms)
    teams = yield q(
        "DELETE FROM team_memberships WHERE user_id = ? AND org_id = ?"
        " RETURNING user_id, role, team_id, org_id",
        user_id,
        org_id,
    )
    yield from _end_sessions(org_id, user_id)
    yield q("DELETE FROM org_memberships WHERE user_id = ? AND org_id = ?", user_id, org_id)
    return (*keys, *_told("delete", "team_membership", teams, org_id, "role"))


def of_team_member(org_id: str, team_id: str, user_id: str, now_ms: int) -> Op[Cascade]:
    """Take along the keys of somebody that are bound to one team."""
    yield q("DELETE FROM team_memberships WHERE user_id = ? AND team_id = ?", user_id, team_id)
    return (yield from _revoke_keys("user_id = ? AND team_id = ?", (user_id, team_id), org_id, now_ms))


def of_user(user_id: str, now_ms: int) -> Op[Cascade]:
    """Take along everything of somebody everywhere: memberships, keys, sessions, and ways to log in."""
    keys = yield from _revoke_keys("user_id = ?", (user_id,), None, now_ms)
    yield q("DELETE FROM team_memberships WHERE user_id = ?", user_id)
    orgs = yield q(
        "DELETE FROM org_memberships WHERE user_id = ? RETURNING user_id, role, NULL, org_id", user_id
    )
    yield from sessions.end_sessions(user_id)
    for table in _WAYS_IN:
        yield q(f"DELETE FROM {table} WHERE user_id = ?", user_id)  # noqa: S608
    return (*keys, *_told("delete", "membership", orgs, None, "role"))


def _end_sessions(org_id: str, user_id: str | None) -> Op[None]:
    # A session is no organisation's: those go on whose people are at home elsewhere as well.
    yield q(_HOMELESS, org_id, user_id, user_id)


def _revoke_keys(condition: str, params: Row, org_id: str | None, now_ms: int) -> Op[Cascade]:
    found: Rows = []
    while True:
        rows = yield q(
            "UPDATE api_keys SET revoked_at_ms = ?, updated_at_ms = ?, revision = revision + 1 WHERE id IN"  # noqa: S608
            f" (SELECT id FROM api_keys WHERE revoked_at_ms IS NULL AND {condition} ORDER BY id LIMIT {PAGE})"
            " RETURNING id, name, team_id, org_id",
            now_ms,
            now_ms,
            *params,
        )
        found += rows
        if len(rows) < PAGE:
            return _told("revoke", "key", found, org_id, touch="key")


def _delete_accounts(condition: str, params: Row, org_id: str, now_ms: int) -> Op[Cascade]:
    rows = yield q(
        "UPDATE service_accounts SET deleted_at_ms = ?, updated_at_ms = ?"  # noqa: S608
        f" WHERE deleted_at_ms IS NULL AND {condition} RETURNING id, name, team_id, org_id",
        now_ms,
        now_ms,
        *params,
    )
    return _told("delete", "service_account", rows, org_id)


def _told(
    action: str, resource: str, rows: Rows, org_id: str | None, field: str = "name", touch: str | None = None
) -> Cascade:
    """Make the entries of what went along.

    :param rows: of each its id, what it has in ``field``, its team and its organisation.
    :param org_id: the organisation of all of them, if it is one.
    :param touch: the kind under which snapshots hold them, if they do. Of many it need not be told: they
        are read again with what they belong to.
    """
    if len(rows) > LISTED:
        return (Changed(None, action, resource, None, org_id, after={"count": len(rows)}),)
    return tuple(
        Changed(
            None,
            action,
            resource,
            id_,
            where,
            team_id,
            before={field: value},
            touched=() if touch is None else ((touch, id_),),
        )
        for id_, value, team_id, where in rows
    )
