"""Service accounts as they are administered: read, made, renamed and removed."""

from __future__ import annotations

from typing import Callable, Mapping

from attrs import evolve, frozen

from voidllm.store import removal, tenants
from voidllm.store.changes import Changed
from voidllm.store.orgs import lock_org
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.records import ServiceAccount
from voidllm.store.statements import Op, q

_SELECT = (
    "SELECT s.id, s.org_id, s.name, s.created_at_ms, s.team_id, s.created_by, s.updated_at_ms,"
    " (SELECT count(*) FROM api_keys k WHERE k.service_account_id = s.id AND k.revoked_at_ms IS NULL)"
    " FROM service_accounts s"
)

#: What lists can be sorted by; ids grow with the time of creation.
SORTS: Mapping[str, str] = {"created_at": "s.id", "name": "s.name"}


@frozen
class AccountRow(ServiceAccount):
    """A service account as it is administered.

    :ivar updated_at_ms: when it was last changed, 0 for never.
    :ivar key_count: how many keys it has that are not revoked.
    """

    updated_at_ms: int = 0
    key_count: int = 0


@frozen
class AccountFilter:
    """Which service accounts a list is of; ``None`` restricts nothing.

    :ivar visible: those that this user made, or that belong to one of these teams.
    :ivar search: is in the name.
    """

    org_id: str
    visible: tuple[str | None, tuple[str, ...]] | None = None
    team_id: str | None = None
    created_by: str | None = None
    search: str | None = None


def list_accounts(wanted: AccountFilter, page: Page) -> Op[list[AccountRow]]:
    """Read one page of the service accounts of an organisation."""
    where: list[Condition] = [("s.deleted_at_ms IS NULL", ()), ("s.org_id = ?", (wanted.org_id,))]
    if wanted.visible is not None:
        maker, teams = wanted.visible
        marks = ", ".join("?" * len(teams)) or "NULL"
        where.append((f"s.created_by = ? OR s.team_id IN ({marks})", (maker, *teams)))
    if wanted.team_id is not None:
        where.append(("s.team_id = ?", (wanted.team_id,)))
    if wanted.created_by is not None:
        where.append(("s.created_by = ?", (wanted.created_by,)))
    if wanted.search is not None:
        where.append(contains(wanted.search, "s.name"))
    rows = yield paged(_SELECT, where, SORTS, "s.id", page)
    return [AccountRow(*row) for row in rows]


def get_account(org_id: str, account_id: str) -> Op[AccountRow | None]:
    """Read one service account that is not removed."""
    rows = yield q(
        _SELECT + " WHERE s.id = ? AND s.org_id = ? AND s.deleted_at_ms IS NULL", account_id, org_id
    )
    return AccountRow(*rows[0]) if rows else None


def create_account(new: AccountRow) -> Op[Changed[AccountRow] | None]:
    """Insert a service account; nothing without its organisation.

    :raises StoreConflict: if its team is gone.
    """
    if not (yield from lock_org(new.org_id)):
        return None
    yield from tenants.create_service_account(new)
    made = evolve(new, updated_at_ms=new.created_at_ms)
    return Changed(
        made,
        "create",
        "service_account",
        new.id,
        new.org_id,
        new.team_id,
        after={"name": new.name, "team_id": new.team_id},
        touched=(("service_account", new.id),),
    )


def rename_account(
    org_id: str, account_id: str, decide: Callable[[AccountRow], str], now_ms: int
) -> Op[Changed[AccountRow] | None]:
    """Give a service account another name; nothing if there is none, or it is the same.

    :param decide: says which name, by what it is while nobody else can change it.
    """
    old = (yield from get_account(org_id, account_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    name = decide(old)
    if name == old.name:
        return None
    yield q("UPDATE service_accounts SET name = ?, updated_at_ms = ? WHERE id = ?", name, now_ms, account_id)
    return Changed(
        evolve(old, name=name, updated_at_ms=now_ms),
        "update",
        "service_account",
        account_id,
        org_id,
        old.team_id,
        before={"name": old.name},
        after={"name": name},
        touched=(("service_account", account_id),),
    )


def delete_account(
    org_id: str, account_id: str, check: Callable[[AccountRow], None], now_ms: int
) -> Op[Changed[AccountRow] | None]:
    """Remove a service account with its keys; nothing if there is none.

    :param check: raises if it must not be removed.
    """
    old = (yield from get_account(org_id, account_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    check(old)
    more = yield from removal.of_account(org_id, account_id, now_ms)
    yield q(
        "UPDATE service_accounts SET deleted_at_ms = ?, updated_at_ms = ? WHERE id = ?",
        now_ms,
        now_ms,
        account_id,
    )
    return Changed(
        old,
        "delete",
        "service_account",
        account_id,
        org_id,
        old.team_id,
        before={"name": old.name, "team_id": old.team_id},
        touched=(("service_account", account_id),),
        more=more,
    )
