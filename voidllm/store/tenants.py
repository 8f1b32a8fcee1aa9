"""Organisations, teams, users and service accounts, and what is set on them."""

from __future__ import annotations

from typing import Iterable, Mapping

from voidllm.core.errors import StoreConflict, StoreRejected
from voidllm.core.principal import Limits
from voidllm.store import access_rows, limits_rows
from voidllm.store.records import Org, ServiceAccount, Team, User
from voidllm.store.statements import PAGE, Op, Row, Rows, q

_TABLES = {"org": "organizations", "team": "teams"}

#: Live organisations with their limits, for :func:`org_of`.
SELECT_ORGS = (
    f"SELECT o.id, o.name, o.slug, o.created_at_ms, o.timezone, {limits_rows.COLUMNS} FROM organizations o"  # noqa: S608
    " LEFT JOIN scope_limits l ON l.scope_kind = 'org' AND l.scope_id = o.id"
    " WHERE o.deleted_at_ms IS NULL"
)

#: Live teams of live organisations with their limits, for :func:`team_of`.
SELECT_TEAMS = (
    f"SELECT t.id, t.org_id, t.name, t.slug, t.created_at_ms, {limits_rows.COLUMNS} FROM teams t"  # noqa: S608
    " JOIN organizations o ON o.id = t.org_id AND o.deleted_at_ms IS NULL"
    " LEFT JOIN scope_limits l ON l.scope_kind = 'team' AND l.scope_id = t.id"
    " WHERE t.deleted_at_ms IS NULL"
)

_EXISTS = {
    "org": "SELECT 1 FROM organizations WHERE id = ? AND deleted_at_ms IS NULL",
    "team": "SELECT 1 FROM teams WHERE id = ? AND deleted_at_ms IS NULL",
    "key": "SELECT 1 FROM api_keys WHERE id = ? AND revoked_at_ms IS NULL",
}


def create_org(org: Org) -> Op[Org]:
    """Insert an organisation with its limits."""
    yield q(
        "INSERT INTO organizations (id, name, slug, timezone, created_at_ms, updated_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        org.id,
        org.name,
        org.slug,
        org.timezone,
        org.created_at_ms,
        org.created_at_ms,
    )
    yield from limits_rows.put("org", org.id, org.limits)
    return org


def create_team(team: Team) -> Op[Team]:
    """Insert a team with its limits."""
    yield from _demand("org", team.org_id)
    yield q(
        "INSERT INTO teams (id, org_id, name, slug, created_at_ms, updated_at_ms) VALUES (?, ?, ?, ?, ?, ?)",
        team.id,
        team.org_id,
        team.name,
        team.slug,
        team.created_at_ms,
        team.created_at_ms,
    )
    yield from limits_rows.put("team", team.id, team.limits)
    return team


def create_user(user: User, org_id: str | None, role: str) -> Op[User]:
    """Insert a user and, with ``org_id``, the membership there."""
    yield q(
        "INSERT INTO users (id, email, name, password_hash, is_system_admin, must_change_password,"
        " auth_provider, created_at_ms, updated_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        user.id,
        user.email,
        user.name,
        user.password_hash,
        int(user.is_system_admin),
        int(user.must_change_password),
        user.auth_provider,
        user.created_at_ms,
        user.created_at_ms,
    )
    if org_id is not None:
        yield from _demand("org", org_id)
        yield q(
            "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, ?, ?)",
            org_id,
            user.id,
            role,
            user.created_at_ms,
        )
    return user


def create_service_account(account: ServiceAccount) -> Op[ServiceAccount]:
    """Insert a service account."""
    yield from _demand("org", account.org_id)
    if account.team_id is not None:
        yield from _demand("team", account.team_id)
    yield q(
        "INSERT INTO service_accounts (id, org_id, team_id, name, created_by, created_at_ms, updated_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        account.id,
        account.org_id,
        account.team_id,
        account.name,
        account.created_by,
        account.created_at_ms,
        account.created_at_ms,
    )
    return account


def set_limits(kind: str, scope_id: str, limits: Limits) -> Op[bool]:
    """Set the limits of the ``system``, or of an org, team or key; ``False`` if there is none."""
    if kind != "system" and not (yield from _taken(kind, scope_id)):
        return False
    yield from limits_rows.put(kind, "" if kind == "system" else scope_id, limits)
    return True


def set_aliases(kind: str, scope_id: str, aliases: Mapping[str, str]) -> Op[bool]:
    """Replace the aliases of an org or team; ``False`` if there is none."""
    if kind not in _TABLES:
        raise StoreRejected("only organisations and teams have aliases")
    if not (yield from exists(kind, scope_id)):
        return False
    yield from access_rows.put_aliases(kind, scope_id, aliases)
    return True


def set_access(kind: str, scope_id: str, models: Iterable[str] | None) -> Op[bool]:
    """Replace the access list of an org, team or key; ``False`` if there is none."""
    if not (yield from _taken(kind, scope_id)):
        return False
    yield from access_rows.put_access(kind, scope_id, models)
    return True


def _taken(kind: str, scope_id: str) -> Op[bool]:
    """Do as :func:`exists`; whoever has decided on a key as it was decides anew."""
    if kind == "key":
        yield q("UPDATE api_keys SET revision = revision + 1 WHERE id = ?", scope_id)
    return (yield from exists(kind, scope_id))


def exists(kind: str, scope_id: str) -> Op[bool]:
    """Say whether a live org, team or key has this id."""
    if kind not in _EXISTS:
        raise StoreRejected("unknown kind of scope")
    rows = yield q(_EXISTS[kind], scope_id)
    return bool(rows)


def _demand(kind: str, scope_id: str) -> Op[None]:
    # A foreign key alone would accept an organisation or team that was deleted softly.
    if not (yield from exists(kind, scope_id)):
        raise StoreConflict(f"no such {kind}")


def org_of(row: Row) -> Org:
    """Make an organisation of a row of :data:`SELECT_ORGS`."""
    id_, name, slug, created, timezone, *limits = row
    return Org(id_, name, slug, created, limits_rows.from_row(tuple(limits)), timezone)


def team_of(row: Row) -> Team:
    """Make a team of a row of :data:`SELECT_TEAMS`."""
    id_, org_id, name, slug, created, *limits = row
    return Team(id_, org_id, name, slug, created, limits_rows.from_row(tuple(limits)))


def all_orgs() -> Op[tuple[Org, ...]]:
    """Read every live organisation."""
    rows = yield from _all(SELECT_ORGS + " AND o.id > ? ORDER BY o.id LIMIT ?")
    return tuple(map(org_of, rows))


def all_teams() -> Op[tuple[Team, ...]]:
    """Read every live team of a live organisation."""
    rows = yield from _all(SELECT_TEAMS + " AND t.id > ? ORDER BY t.id LIMIT ?")
    return tuple(map(team_of, rows))


def _all(sql: str) -> Op[Rows]:
    """Read page after page of rows that begin with the id that they are ordered by."""
    found: Rows = []
    after = ""
    while True:
        rows = yield q(sql, after, PAGE)
        found += rows
        if len(rows) < PAGE:
            return found
        after = rows[-1][0]


def system_limits() -> Op[Limits]:
    """Read the limits that apply to the whole installation."""
    rows = yield q(f"SELECT {limits_rows.COLUMNS} FROM scope_limits l WHERE l.scope_kind = 'system'")  # noqa: S608
    return limits_rows.from_row(rows[0]) if rows else Limits()
