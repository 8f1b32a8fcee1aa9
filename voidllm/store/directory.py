"""Who is meant by a name or an id: organisations, and teams, people and programs within one."""

from __future__ import annotations

from typing import Iterable, Mapping

from voidllm.core.errors import StoreRejected
from voidllm.store.records import Member, Named, Org, ServiceAccount, Team
from voidllm.store.statements import PAGE, Op, q
from voidllm.store.tenants import SELECT_ORGS, SELECT_TEAMS, org_of, team_of

_MEMBER = (
    "SELECT u.id, u.email, u.name, u.is_system_admin, m.role FROM users u"
    " LEFT JOIN org_memberships m ON m.org_id = ? AND m.user_id = u.id"
    " WHERE u.deleted_at_ms IS NULL AND (m.role IS NOT NULL OR u.is_system_admin = 1)"
)


# Whatever somebody was called, a list that names them goes on doing so after they are gone; their
# slugs may then be somebody else's.
_SLUG = "CASE WHEN deleted_at_ms IS NULL THEN slug END"
_NAMES: Mapping[str, str] = {
    "org": f"SELECT id, name, {_SLUG}, NULL FROM organizations WHERE id IN ",  # noqa: S608
    "team": f"SELECT id, name, {_SLUG}, NULL FROM teams WHERE id IN ",  # noqa: S608
    "user": "SELECT id, name, NULL, email FROM users WHERE id IN ",
    "service_account": "SELECT id, name, NULL, NULL FROM service_accounts WHERE id IN ",
}


# A slug that somebody chose to be the id of another one hides nothing.
_ID_FIRST = " ORDER BY CASE WHEN o.id = ? THEN 0 ELSE 1 END LIMIT 1"


def named(kind: str, ids: Iterable[str]) -> Op[dict[str, Named]]:
    """Read what things with these ids are called, deleted ones too.

    :raises StoreRejected: if there is no such kind, or for more ids than a page has rows.
    """
    wanted = sorted(set(ids))
    if kind not in _NAMES or len(wanted) > PAGE:
        raise StoreRejected("there are no names of that kind, or too many")
    if not wanted:
        return {}
    rows = yield q(f"{_NAMES[kind]}({', '.join('?' * len(wanted))})", *wanted)
    return {row[0]: Named(*row) for row in rows}


def find_org(ref: str | None) -> Op[Org | None]:
    """Find the organisation with this id or slug; the oldest one without ``ref``."""
    if ref is None:
        rows = yield q(SELECT_ORGS + " ORDER BY o.created_at_ms, o.id LIMIT 1")
    else:
        rows = yield q(SELECT_ORGS + " AND (o.id = ? OR o.slug = ?)" + _ID_FIRST, ref, ref, ref)
    return org_of(rows[0]) if rows else None


def find_scopes(org_ref: str, team_ref: str | None) -> Op[tuple[Org | None, Team | None]]:
    """Find an organisation and, with ``team_ref``, a team of it."""
    org = yield from find_org(org_ref)
    if org is None or team_ref is None:
        return org, None
    return org, (yield from find_team(org.id, team_ref))


def find_team(org_id: str, ref: str) -> Op[Team | None]:
    """Find the team of an organisation with this id or slug."""
    sql = SELECT_TEAMS + " AND t.org_id = ? AND (t.id = ? OR t.slug = ?)" + _ID_FIRST.replace("o.", "t.")
    rows = yield q(sql, org_id, ref, ref, ref)
    return team_of(rows[0]) if rows else None


def find_member(org_id: str, ref: str | None) -> Op[Member | None]:
    """Find the user with this id or e-mail address who belongs to an organisation.

    System administrators belong to every one. Without ``ref`` it is the oldest system
    administrator, or if there is none the oldest administrator of the organisation.
    """
    if ref is None:
        rows = yield q(
            _MEMBER + " AND (m.role = 'org_admin' OR u.is_system_admin = 1)"
            " ORDER BY u.is_system_admin DESC, u.created_at_ms, u.id LIMIT 1",
            org_id,
        )
    else:
        rows = yield q(_MEMBER + " AND (u.id = ? OR lower(u.email) = lower(?))", org_id, ref, ref)
    if len(rows) != 1:
        return None
    id_, email, name, system_admin, role = rows[0]
    return Member(id_, email, name, "system_admin" if system_admin else role)


def find_service_account(org_id: str, ref: str) -> Op[ServiceAccount | None]:
    """Find the service account of an organisation with this id or name; of several the oldest."""
    rows = yield q(
        "SELECT s.id, s.org_id, s.name, s.created_at_ms, s.team_id, s.created_by FROM service_accounts s"
        " LEFT JOIN teams t ON t.id = s.team_id"
        " WHERE s.deleted_at_ms IS NULL AND t.deleted_at_ms IS NULL AND s.org_id = ?"
        " AND (s.id = ? OR s.name = ?) ORDER BY s.id LIMIT 1",
        org_id,
        ref,
        ref,
    )
    return ServiceAccount(*rows[0]) if rows else None
