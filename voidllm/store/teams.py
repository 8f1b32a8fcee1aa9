"""Teams as they are administered: read, made, changed and removed."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from attrs import asdict, evolve, frozen

from voidllm.core.principal import Limits
from voidllm.store import limits_rows, removal, tenants
from voidllm.store.changes import Changed
from voidllm.store.limits_above import Above, limits_above
from voidllm.store.orgs import lock_org
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.records import Team
from voidllm.store.statements import Op, Row, q

_SELECT = (
    "SELECT t.id, t.org_id, t.name, t.slug, t.created_at_ms, t.updated_at_ms,"  # noqa: S608
    " (SELECT count(*) FROM team_memberships m WHERE m.team_id = t.id),"
    " (SELECT count(*) FROM api_keys k WHERE k.team_id = t.id AND k.revoked_at_ms IS NULL),"
    f" {limits_rows.COLUMNS} FROM teams t"
    " LEFT JOIN scope_limits l ON l.scope_kind = 'team' AND l.scope_id = t.id"
)

#: What lists can be sorted by; ids grow with the time of creation.
SORTS: Mapping[str, str] = {"created_at": "t.id", "name": "t.name", "slug": "t.slug"}


@frozen
class TeamRow(Team):
    """A team as it is administered.

    :ivar updated_at_ms: when it was last changed, 0 for never.
    :ivar member_count: how many people belong to it.
    :ivar key_count: how many keys are bound to it that are not revoked.
    """

    updated_at_ms: int = 0
    member_count: int = 0
    key_count: int = 0


@frozen
class TeamValues:
    """All that can be changed of a team, as it shall be."""

    name: str
    slug: str
    limits: Limits


def list_teams(
    org_id: str, only: tuple[str, ...] | None, search: str | None, page: Page
) -> Op[list[TeamRow]]:
    """Read one page of the teams of an organisation.

    :param only: the ids that may be among them, ``None`` for no such bound.
    :param search: is in the name or the slug.
    """
    if only == ():
        return []
    where: list[Condition] = [("t.deleted_at_ms IS NULL", ()), ("t.org_id = ?", (org_id,))]
    if only is not None:
        where.append((f"t.id IN ({', '.join('?' * len(only))})", only))
    if search is not None:
        where.append(contains(search, "t.name", "t.slug"))
    rows = yield paged(_SELECT, where, SORTS, "t.id", page)
    return list(map(_team, rows))


def get_team(org_id: str, team_id: str) -> Op[TeamRow | None]:
    """Read one team that is not removed."""
    rows = yield q(_SELECT + " WHERE t.id = ? AND t.org_id = ? AND t.deleted_at_ms IS NULL", team_id, org_id)
    return _team(rows[0]) if rows else None


def lock_team(org_id: str, team_id: str) -> Op[bool]:
    """Have others wait who change the team, its organisation or their people; ``False`` if there is none."""
    if not (yield from lock_org(org_id)):
        return False
    return (yield from tenants.exists("team", team_id))


def create_team(new: TeamRow, check: Callable[[Above], None]) -> Op[Changed[TeamRow] | None]:
    """Insert a team; nothing without its organisation.

    :param check: raises if it must not be made under these limits.
    :raises StoreConflict: if its slug is taken there.
    """
    if not (yield from lock_org(new.org_id)):
        return None
    check((yield from limits_above(new.org_id)))
    yield from tenants.create_team(new)
    made = evolve(new, updated_at_ms=new.created_at_ms)
    return Changed(
        made,
        "create",
        "team",
        new.id,
        new.org_id,
        new.id,
        after=_facts(values_of(made)),
        touched=(("team", new.id),),
    )


def change_team(
    org_id: str, team_id: str, decide: Callable[[TeamRow, Above], TeamValues], now_ms: int
) -> Op[Changed[TeamRow] | None]:
    """Change a team; nothing if there is none, or it is all the same.

    :param decide: says what it shall be, by what it is and what is above it while nobody else can
        change that.
    :raises StoreConflict: if the slug is taken.
    """
    old = (yield from get_team(org_id, team_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    before, wanted = values_of(old), decide(old, (yield from limits_above(org_id)))
    if wanted == before:
        return None
    yield q(
        "UPDATE teams SET name = ?, slug = ?, updated_at_ms = ? WHERE id = ?",
        wanted.name,
        wanted.slug,
        now_ms,
        team_id,
    )
    yield from limits_rows.put("team", team_id, wanted.limits)
    made = evolve(old, name=wanted.name, slug=wanted.slug, limits=wanted.limits, updated_at_ms=now_ms)
    return Changed(
        made,
        "update",
        "team",
        team_id,
        org_id,
        team_id,
        before=_facts(before),
        after=_facts(wanted),
        touched=(("team", team_id),),
    )


def delete_team(
    org_id: str, team_id: str, check: Callable[[TeamRow], None], now_ms: int
) -> Op[Changed[TeamRow] | None]:
    """Remove a team with all that it has; nothing if there is none.

    Its slug may be used again.

    :param check: raises if it must not be removed.
    """
    old = (yield from get_team(org_id, team_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    check(old)
    more = yield from removal.of_team(org_id, team_id, now_ms)
    yield q(
        "UPDATE teams SET deleted_at_ms = ?, updated_at_ms = ?, slug = slug || ? WHERE id = ?",
        now_ms,
        now_ms,
        removal.tombstone(team_id),
        team_id,
    )
    return Changed(
        old,
        "delete",
        "team",
        team_id,
        org_id,
        team_id,
        before=_facts(values_of(old)),
        touched=(("team", team_id),),
        more=more,
    )


def values_of(team: TeamRow) -> TeamValues:
    """Give what can be changed of a team."""
    return TeamValues(team.name, team.slug, team.limits)


def _facts(values: TeamValues) -> dict[str, Any]:
    facts = asdict(values)
    limits = facts.pop("limits")
    return {**facts, **limits}


def _team(row: Row) -> TeamRow:
    id_, org_id, name, slug, created, updated, members, keys, *limits = row
    return TeamRow(
        id_, org_id, name, slug, created, limits_rows.from_row(tuple(limits)), updated, members, keys
    )
