"""What somebody is at this very moment: which roles they have where, read for each administrative request."""

from __future__ import annotations

from typing import Mapping

from attrs import evolve, field, frozen

from voidllm.store import keys
from voidllm.store.statements import Op, q


@frozen
class Standing:
    """Whom a key or a session stands for.

    :ivar orgs: organisation to the role there, for each that the bearer acts in.
    :ivar teams: team to the role there: ``member`` or ``team_admin``.
    :ivar scopes: what the key is for.
    :ivar addresses: networks that the key may be used from; empty for all.
    """

    scopes: frozenset[str]
    orgs: Mapping[str, str] = field(factory=dict)
    teams: Mapping[str, str] = field(factory=dict)
    org_id: str | None = None
    user_id: str | None = None
    name: str = ""
    system_admin: bool = False
    must_change_password: bool = False
    key_id: str | None = None
    key_type: str | None = None
    team_id: str | None = None
    service_account_id: str | None = None
    addresses: tuple[str, ...] = ()


def orgs_of(user_id: str) -> Op[dict[str, str]]:
    """Read the live organisations that a user belongs to, oldest membership first, and the roles there."""
    rows = yield q(
        "SELECT m.org_id, m.role FROM org_memberships m JOIN organizations o ON o.id = m.org_id"
        " WHERE m.user_id = ? AND o.deleted_at_ms IS NULL ORDER BY m.created_at_ms, m.org_id",
        user_id,
    )
    return {org_id: role_in_org(role) for org_id, role in rows}


def teams_of(user_id: str) -> Op[dict[str, tuple[str, str]]]:
    """Read the live teams that a user belongs to: the organisation and the role of each."""
    rows = yield q(
        "SELECT m.team_id, m.org_id, m.role FROM team_memberships m JOIN teams t ON t.id = m.team_id"
        " WHERE m.user_id = ? AND t.deleted_at_ms IS NULL",
        user_id,
    )
    return {team_id: (org_id, role) for team_id, org_id, role in rows}


def role_in_org(stored: str) -> str:
    """Give the role that a membership stands for; who leads a team is written with the team."""
    return "member" if stored == "team_admin" else stored


def of_key(digest: str, now_ms: int) -> Op[Standing | None]:
    """Read what the bearer of a key is, ``None`` for a key that is not alive.

    :param digest: lower-case hex of the key's HMAC.
    """
    key = yield from keys.find_live(digest, now_ms)
    if key is None:
        return None
    own = Standing(
        key.scopes,
        org_id=key.org_id,
        name=key.name,
        key_id=key.id,
        key_type=key.key_type,
        team_id=key.team_id,
        service_account_id=key.service_account_id,
        addresses=key.addresses,
    )
    if key.user_id is None:
        if key.team_id is None:
            return evolve(own, orgs={key.org_id: "org_admin"})
        return evolve(own, orgs={key.org_id: "member"}, teams={key.team_id: "team_admin"})
    person = yield from of_user(key.user_id)
    if person is None or (key.org_id not in person.orgs and not person.system_admin):
        return None
    teams = yield from teams_of(key.user_id)
    return evolve(
        own,
        orgs={org_id: role for org_id, role in person.orgs.items() if org_id == key.org_id},
        teams={team_id: role for team_id, (org_id, role) in teams.items() if org_id == key.org_id},
        user_id=key.user_id,
        system_admin=person.system_admin,
        must_change_password=person.must_change_password,
        name=person.name,
    )


def of_user(user_id: str) -> Op[Standing | None]:
    """Read what a user is in all organisations, ``None`` if there is no such user any more."""
    rows = yield q(
        "SELECT name, is_system_admin, must_change_password FROM users"
        " WHERE id = ? AND deleted_at_ms IS NULL",
        user_id,
    )
    if not rows:
        return None
    ((name, system_admin, must_change),) = rows
    orgs = yield from orgs_of(user_id)
    teams = yield from teams_of(user_id)
    return Standing(
        frozenset(),
        orgs=orgs,
        teams={team_id: role for team_id, (_, role) in teams.items()},
        org_id=next(iter(orgs), None),
        user_id=user_id,
        name=name,
        system_admin=bool(system_admin),
        must_change_password=bool(must_change),
    )
