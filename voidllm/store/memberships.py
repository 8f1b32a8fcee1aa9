"""Who belongs to an organisation, and in which role."""

from __future__ import annotations

from typing import Callable, Mapping

from attrs import evolve, frozen

from voidllm.store import removal
from voidllm.store.changes import Changed
from voidllm.store.last_ones import require_other_org_admin
from voidllm.store.orgs import lock_org
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.sso_reach import end_borrowed_access
from voidllm.store.standing import role_in_org
from voidllm.store.statements import Op, Row, q
from voidllm.store.users import UserRow, get_user, lock_user

_SELECT = (
    "SELECT m.org_id, m.user_id, m.role, m.created_at_ms, u.email, u.name, u.is_system_admin"
    " FROM org_memberships m JOIN users u ON u.id = m.user_id AND u.deleted_at_ms IS NULL"
)

#: What lists can be sorted by.
SORTS: Mapping[str, str] = {"email": "u.email", "display_name": "u.name"}


@frozen
class Membership:
    """Somebody as a member of an organisation.

    :ivar role: ``member`` or ``org_admin``.
    :ivar rank: the role that counts there, ``system_admin`` for those.
    """

    org_id: str
    user_id: str
    role: str
    created_at_ms: int
    email: str
    name: str
    is_system_admin: bool

    @property
    def rank(self) -> str:
        """The role that counts in the organisation."""
        return "system_admin" if self.is_system_admin else self.role


def list_members(org_id: str, role: str | None, search: str | None, page: Page) -> Op[list[Membership]]:
    """Read one page of the members of an organisation.

    :param search: is in the address or the name.
    """
    where: list[Condition] = [("m.org_id = ?", (org_id,))]
    if role is not None:
        where.append((f"m.role {'=' if role == 'org_admin' else '<>'} 'org_admin'", ()))
    if search is not None:
        where.append(contains(search, "u.email", "u.name"))
    rows = yield paged(_SELECT, where, SORTS, "m.user_id", page)
    return list(map(_membership, rows))


def get_member(org_id: str, user_id: str) -> Op[Membership | None]:
    """Read one membership."""
    rows = yield q(_SELECT + " WHERE m.org_id = ? AND m.user_id = ?", org_id, user_id)
    return _membership(rows[0]) if rows else None


def add_member(
    org_id: str, user_id: str, role: str, check: Callable[[UserRow], None], now_ms: int
) -> Op[Changed[Membership] | None]:
    """Make somebody a member; nothing without the organisation or the person.

    :param check: raises if they must not be made one.
    :raises StoreConflict: if they are one already.
    """
    person = None
    if (yield from lock_org(org_id)) and (yield from lock_user(user_id)):
        person = yield from get_user(user_id)
    if person is None:
        return None
    check(person)
    yield q(
        "INSERT INTO org_memberships (org_id, user_id, role, created_at_ms) VALUES (?, ?, ?, ?)",
        org_id,
        user_id,
        role,
        now_ms,
    )
    if person.orgs:
        yield from end_borrowed_access(user_id)
    made = Membership(org_id, user_id, role, now_ms, person.email, person.name, person.is_system_admin)
    return Changed(
        made,
        "create",
        "membership",
        user_id,
        org_id,
        after={"role": role},
        touched=(("user", user_id),),
    )


def change_member(
    org_id: str, user_id: str, decide: Callable[[Membership], str]
) -> Op[Changed[Membership] | None]:
    """Change somebody's role; nothing if they are no member, or it is the same.

    :param decide: says which role it shall be, by what they are while nobody else can change it.
    :raises Refusal: 409 if nobody would be left to administer the organisation.
    """
    old = (yield from get_member(org_id, user_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    role = decide(old)
    if role == old.role:
        return None
    if old.role == "org_admin":
        yield from require_other_org_admin(org_id, user_id)
    yield q("UPDATE org_memberships SET role = ? WHERE org_id = ? AND user_id = ?", role, org_id, user_id)
    return Changed(
        evolve(old, role=role),
        "update",
        "membership",
        user_id,
        org_id,
        before={"role": old.role},
        after={"role": role},
        touched=(("user", user_id),),
    )


def remove_member(
    org_id: str, user_id: str, check: Callable[[Membership], None], now_ms: int
) -> Op[Changed[Membership] | None]:
    """Take somebody out of an organisation and its teams; nothing if they are no member.

    :param check: raises if they must not be removed.
    :raises Refusal: 409 if nobody would be left to administer the organisation.
    """
    old = (yield from get_member(org_id, user_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    check(old)
    if old.role == "org_admin":
        yield from require_other_org_admin(org_id, user_id)
    more = yield from removal.of_member(org_id, user_id, now_ms)
    return Changed(
        old,
        "delete",
        "membership",
        user_id,
        org_id,
        before={"role": old.role},
        touched=(("user", user_id),),
        more=more,
    )


def _membership(row: Row) -> Membership:
    org_id, user_id, role, created, email, name, system_admin = row
    return Membership(org_id, user_id, role_in_org(role), created, email, name, bool(system_admin))
