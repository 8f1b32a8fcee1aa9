"""Who belongs to a team, and who leads it."""

from __future__ import annotations

from typing import Callable, Mapping

from attrs import evolve, frozen

from voidllm.store import removal
from voidllm.store.changes import Changed
from voidllm.store.memberships import Membership, get_member
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.standing import role_in_org
from voidllm.store.statements import Op, Row, q
from voidllm.store.teams import lock_team

_SELECT = (
    "SELECT t.team_id, t.org_id, t.user_id, t.role, t.created_at_ms, u.email, u.name, u.is_system_admin,"
    " m.role FROM team_memberships t"
    " JOIN users u ON u.id = t.user_id AND u.deleted_at_ms IS NULL"
    " JOIN org_memberships m ON m.org_id = t.org_id AND m.user_id = t.user_id"
)

#: What lists can be sorted by.
SORTS: Mapping[str, str] = {"email": "u.email", "display_name": "u.name"}


@frozen
class TeamMembership:
    """Somebody as a member of a team.

    :ivar role: ``member`` or ``team_admin``.
    :ivar rank: the role that counts in the organisation: theirs there, or that in the team.
    """

    team_id: str
    org_id: str
    user_id: str
    role: str
    created_at_ms: int
    email: str
    name: str
    rank: str


def list_team_members(
    team_id: str, role: str | None, search: str | None, page: Page
) -> Op[list[TeamMembership]]:
    """Read one page of the members of a team.

    :param search: is in the address or the name.
    """
    where: list[Condition] = [("t.team_id = ?", (team_id,))]
    if role is not None:
        where.append(("t.role = ?", (role,)))
    if search is not None:
        where.append(contains(search, "u.email", "u.name"))
    rows = yield paged(_SELECT, where, SORTS, "t.user_id", page)
    return list(map(_membership, rows))


def get_team_member(team_id: str, user_id: str) -> Op[TeamMembership | None]:
    """Read one membership."""
    rows = yield q(_SELECT + " WHERE t.team_id = ? AND t.user_id = ?", team_id, user_id)
    return _membership(rows[0]) if rows else None


def add_team_member(
    org_id: str, team_id: str, user_id: str, role: str, check: Callable[[Membership], None], now_ms: int
) -> Op[Changed[TeamMembership] | None]:
    """Make a member of the organisation one of the team; nothing if there is no such team or member.

    :param check: raises if they must not be made one.
    :raises StoreConflict: if they are one already.
    """
    person = (yield from get_member(org_id, user_id)) if (yield from lock_team(org_id, team_id)) else None
    if person is None:
        return None
    check(person)
    yield q(
        "INSERT INTO team_memberships (team_id, org_id, user_id, role, created_at_ms) VALUES (?, ?, ?, ?, ?)",
        team_id,
        org_id,
        user_id,
        role,
        now_ms,
    )
    made = TeamMembership(
        team_id, org_id, user_id, role, now_ms, person.email, person.name, _rank(person.rank, role)
    )
    return Changed(
        made,
        "create",
        "team_membership",
        user_id,
        org_id,
        team_id,
        after={"role": role},
        touched=(("user", user_id),),
    )


def change_team_member(
    org_id: str, team_id: str, user_id: str, decide: Callable[[TeamMembership], str]
) -> Op[Changed[TeamMembership] | None]:
    """Change somebody's role in a team; nothing if they are no member, or it is the same.

    :param decide: says which role it shall be, by what they are while nobody else can change it.
    """
    old = (yield from get_team_member(team_id, user_id)) if (yield from lock_team(org_id, team_id)) else None
    if old is None:
        return None
    role = decide(old)
    if role == old.role:
        return None
    yield q("UPDATE team_memberships SET role = ? WHERE team_id = ? AND user_id = ?", role, team_id, user_id)
    return Changed(
        evolve(old, role=role),
        "update",
        "team_membership",
        user_id,
        org_id,
        team_id,
        before={"role": old.role},
        after={"role": role},
        touched=(("user", user_id),),
    )


def remove_team_member(
    org_id: str, team_id: str, user_id: str, check: Callable[[TeamMembership], None], now_ms: int
) -> Op[Changed[TeamMembership] | None]:
    """Take somebody out of a team; nothing if they are no member.

    :param check: raises if they must not be removed.
    """
    old = (yield from get_team_member(team_id, user_id)) if (yield from lock_team(org_id, team_id)) else None
    if old is None:
        return None
    check(old)
    more = yield from removal.of_team_member(org_id, team_id, user_id, now_ms)
    return Changed(
        old,
        "delete",
        "team_membership",
        user_id,
        org_id,
        team_id,
        before={"role": old.role},
        touched=(("user", user_id),),
        more=more,
    )


def _rank(in_org: str, in_team: str) -> str:
    return in_team if in_org == "member" else in_org


def _membership(row: Row) -> TeamMembership:
    team_id, org_id, user_id, role, created, email, name, system_admin, in_org = row
    rank = "system_admin" if system_admin else _rank(role_in_org(in_org), role)
    return TeamMembership(team_id, org_id, user_id, role, created, email, name, rank)
