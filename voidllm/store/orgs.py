"""Organisations as they are administered: read, made, changed and removed."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from attrs import asdict, evolve, frozen

from voidllm.core.principal import Limits
from voidllm.store import limits_rows, removal, tenants
from voidllm.store.changes import Changed
from voidllm.store.limits_above import Above, limits_above
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.records import Org
from voidllm.store.statements import Op, Row, q

_SELECT = (
    "SELECT o.id, o.name, o.slug, o.created_at_ms, o.timezone, o.updated_at_ms,"  # noqa: S608
    " (SELECT count(*) FROM org_memberships m JOIN users u ON u.id = m.user_id"
    " WHERE m.org_id = o.id AND u.deleted_at_ms IS NULL),"
    " (SELECT count(*) FROM teams t WHERE t.org_id = o.id AND t.deleted_at_ms IS NULL),"
    f" {limits_rows.COLUMNS} FROM organizations o"
    " LEFT JOIN scope_limits l ON l.scope_kind = 'org' AND l.scope_id = o.id"
)

_LIVE: Condition = ("o.deleted_at_ms IS NULL", ())

#: What lists can be sorted by; ids grow with the time of creation.
SORTS: Mapping[str, str] = {"created_at": "o.id", "name": "o.name", "slug": "o.slug"}


@frozen
class OrgRow(Org):
    """An organisation as it is administered.

    :ivar updated_at_ms: when it was last changed, 0 for never.
    :ivar member_count: how many people belong to it.
    :ivar team_count: how many teams it has.
    """

    updated_at_ms: int = 0
    member_count: int = 0
    team_count: int = 0


@frozen
class OrgValues:
    """All that can be changed of an organisation, as it shall be."""

    name: str
    slug: str
    timezone: str
    limits: Limits


def list_orgs(only: tuple[str, ...] | None, search: str | None, page: Page) -> Op[list[OrgRow]]:
    """Read one page of organisations.

    :param only: the ids that may be among them, ``None`` for no such bound.
    :param search: is in the name or the slug.
    """
    if only == ():
        return []
    where = [_LIVE]
    if only is not None:
        where.append((f"o.id IN ({', '.join('?' * len(only))})", only))
    if search is not None:
        where.append(contains(search, "o.name", "o.slug"))
    rows = yield paged(_SELECT, where, SORTS, "o.id", page)
    return list(map(_org, rows))


def get_org(org_id: str) -> Op[OrgRow | None]:
    """Read one organisation that is not removed."""
    rows = yield q(_SELECT + " WHERE o.id = ? AND o.deleted_at_ms IS NULL", org_id)
    return _org(rows[0]) if rows else None


def lock_org(org_id: str) -> Op[bool]:
    """Have others wait who change the organisation, its people or its teams; ``False`` if there is none.

    What is read after this stays so until the transaction ends.
    """
    rows = yield q(
        "UPDATE organizations SET updated_at_ms = updated_at_ms WHERE id = ? AND deleted_at_ms IS NULL"
        " RETURNING id",
        org_id,
    )
    return bool(rows)


def create_org(new: OrgRow, check: Callable[[Above], None]) -> Op[Changed[OrgRow]]:
    """Insert an organisation.

    :param check: raises if it must not be made under these limits.
    :raises StoreConflict: if its slug is taken.
    """
    check((yield from limits_above(None)))
    yield from tenants.create_org(new)
    made = evolve(new, updated_at_ms=new.created_at_ms)
    return Changed(
        made, "create", "org", new.id, new.id, after=_facts(values_of(made)), touched=(("org", new.id),)
    )


def change_org(
    org_id: str, decide: Callable[[OrgRow, Above], OrgValues], now_ms: int
) -> Op[Changed[OrgRow] | None]:
    """Change an organisation; nothing if there is none, or it is all the same.

    :param decide: says what it shall be, by what it is while nobody else can change it, and by the
        limits of the installation.
    :raises StoreConflict: if the slug is taken.
    """
    old = (yield from get_org(org_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    before, wanted = values_of(old), decide(old, (yield from limits_above(None)))
    if wanted == before:
        return None
    yield q(
        "UPDATE organizations SET name = ?, slug = ?, timezone = ?, updated_at_ms = ? WHERE id = ?",
        wanted.name,
        wanted.slug,
        wanted.timezone,
        now_ms,
        org_id,
    )
    yield from limits_rows.put("org", org_id, wanted.limits)
    made = evolve(
        old,
        name=wanted.name,
        slug=wanted.slug,
        timezone=wanted.timezone,
        limits=wanted.limits,
        updated_at_ms=now_ms,
    )
    return Changed(
        made,
        "update",
        "org",
        org_id,
        org_id,
        before=_facts(before),
        after=_facts(wanted),
        touched=(("org", org_id),),
    )


def delete_org(org_id: str, check: Callable[[OrgRow], None], now_ms: int) -> Op[Changed[OrgRow] | None]:
    """Remove an organisation with all that it has; nothing if there is none.

    Its people are members of it no more and its slug may be used again.

    :param check: raises if it must not be removed.
    """
    old = (yield from get_org(org_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    check(old)
    more = yield from removal.of_org(org_id, now_ms)
    yield q(
        "UPDATE organizations SET deleted_at_ms = ?, updated_at_ms = ?, slug = slug || ? WHERE id = ?",
        now_ms,
        now_ms,
        removal.tombstone(org_id),
        org_id,
    )
    return Changed(
        old,
        "delete",
        "org",
        org_id,
        org_id,
        before=_facts(values_of(old)),
        touched=(("org", org_id),),
        more=more,
    )


def values_of(org: OrgRow) -> OrgValues:
    """Give what can be changed of an organisation."""
    return OrgValues(org.name, org.slug, org.timezone, org.limits)


def _facts(values: OrgValues) -> dict[str, Any]:
    facts = asdict(values)
    limits = facts.pop("limits")
    return {**facts, **limits}


def _org(row: Row) -> OrgRow:
    id_, name, slug, created, timezone, updated, members, teams, *limits = row
    return OrgRow(
        id_, name, slug, created, limits_rows.from_row(tuple(limits)), timezone, updated, members, teams
    )
