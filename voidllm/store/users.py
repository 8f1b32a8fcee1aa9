"""People as they are administered: read, made, changed and removed."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from attrs import evolve, field, frozen

from voidllm.store import passwords, removal, standing, tenants
from voidllm.store.changes import Changed
from voidllm.store.last_ones import require_other_org_admin, require_other_system_admin
from voidllm.store.orgs import lock_org
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.records import User
from voidllm.store.sso_reach import end_borrowed_access
from voidllm.store.statements import Op, Row, q

_SELECT = (
    "SELECT u.id, u.email, u.name, u.created_at_ms, u.password_hash IS NOT NULL, u.is_system_admin,"
    " u.must_change_password, u.auth_provider, u.updated_at_ms FROM users u"
)

_LIVE: Condition = ("u.deleted_at_ms IS NULL", ())

#: What lists can be sorted by; ids grow with the time of creation.
SORTS: Mapping[str, str] = {"created_at": "u.id", "email": "u.email", "display_name": "u.name"}


@frozen
class UserRow(User):
    """A person as they are administered; never with the hash of the password.

    :ivar has_password: whether there is one.
    :ivar updated_at_ms: when something of them was last changed, 0 for never.
    :ivar orgs: the organisations that they belong to and their roles there, if these were read.
    """

    has_password: bool = False
    updated_at_ms: int = 0
    orgs: Mapping[str, str] = field(factory=dict)


@frozen
class UserValues:
    """All that can be changed of a person, as it shall be.

    :ivar password_hash: a new one, ``None`` for the one that there is.
    """

    email: str
    name: str
    is_system_admin: bool
    must_change_password: bool
    password_hash: str | None = field(default=None, repr=False)


@frozen
class UserFilter:
    """Which people a list is of; ``None`` restricts nothing.

    :ivar org_ids: they belong to one of these organisations.
    :ivar search: is in the address or the name.
    """

    org_ids: tuple[str, ...] | None = None
    system_admin: bool | None = None
    search: str | None = None


def list_users(wanted: UserFilter, page: Page) -> Op[list[UserRow]]:
    """Read one page of people."""
    where = [_LIVE]
    if wanted.org_ids is not None:
        if not wanted.org_ids:
            return []
        marks = ", ".join("?" * len(wanted.org_ids))
        where.append(
            (
                "EXISTS (SELECT 1 FROM org_memberships m WHERE m.user_id = u.id"  # noqa: S608
                f" AND m.org_id IN ({marks}))",
                wanted.org_ids,
            )
        )
    if wanted.system_admin is not None:
        where.append(("u.is_system_admin = ?", (int(wanted.system_admin),)))
    if wanted.search is not None:
        where.append(contains(wanted.search, "u.email", "u.name"))
    rows = yield paged(_SELECT, where, SORTS, "u.id", page)
    return list(map(_user, rows))


def get_user(user_id: str) -> Op[UserRow | None]:
    """Read one person who is not removed, and the organisations that they belong to."""
    rows = yield q(_SELECT + " WHERE u.id = ? AND u.deleted_at_ms IS NULL", user_id)
    if not rows:
        return None
    orgs = yield from standing.orgs_of(user_id)
    return evolve(_user(rows[0]), orgs=orgs)


def lock_user(user_id: str) -> Op[bool]:
    """Have others wait who change the person or what they belong to; ``False`` if there is none.

    Whoever locks organisations as well does that first, in the order of their ids.
    """
    rows = yield q(
        "UPDATE users SET updated_at_ms = updated_at_ms WHERE id = ? AND deleted_at_ms IS NULL RETURNING id",
        user_id,
    )
    return bool(rows)


def create_user(new: UserRow, org_id: str | None, role: str) -> Op[Changed[UserRow] | None]:
    """Insert a person and, with ``org_id``, their membership there; nothing without that organisation.

    :raises StoreConflict: if the address is somebody's.
    """
    if org_id is not None and not (yield from lock_org(org_id)):
        return None
    yield from tenants.create_user(new, org_id, role)
    made = evolve(
        new,
        password_hash=None,
        has_password=new.password_hash is not None,
        updated_at_ms=new.created_at_ms,
        orgs={} if org_id is None else {org_id: role},
    )
    facts = _facts(values_of(made))
    if org_id is not None:
        facts["role"] = role
    return Changed(made, "create", "user", new.id, org_id, after=facts, touched=(("user", new.id),))


def change_user(
    user_id: str, decide: Callable[[UserRow], UserValues], now_ms: int
) -> Op[Changed[UserRow] | None]:
    """Change a person; nothing if there is none, or it is all the same.

    A new password ends their sessions.

    :param decide: says what they shall be, by what they are while nobody else can change it.
    :raises StoreConflict: if the address is somebody's.
    :raises Refusal: 409 if nobody would be left to administer the installation.
    """
    old = (yield from get_user(user_id)) if (yield from lock_user(user_id)) else None
    if old is None:
        return None
    before, wanted = values_of(old), decide(old)
    if wanted == before:
        return None
    if before.is_system_admin and not wanted.is_system_admin:
        yield from require_other_system_admin(user_id)
    if wanted.is_system_admin and not before.is_system_admin:
        yield from end_borrowed_access(user_id)
    more: tuple[Changed[Any], ...] = ()
    if wanted.password_hash is not None:
        changed = yield from passwords.set_password(user_id, wanted.password_hash, None, None, now_ms)
        more = () if changed is None else (changed,)
    yield q(
        "UPDATE users SET email = ?, name = ?, is_system_admin = ?, must_change_password = ?,"
        " updated_at_ms = ? WHERE id = ?",
        wanted.email,
        wanted.name,
        int(wanted.is_system_admin),
        int(wanted.must_change_password),
        now_ms,
        user_id,
    )
    made = evolve(
        old,
        email=wanted.email,
        name=wanted.name,
        is_system_admin=wanted.is_system_admin,
        must_change_password=wanted.must_change_password,
        has_password=old.has_password or wanted.password_hash is not None,
        updated_at_ms=now_ms,
    )
    return Changed(
        made,
        "update",
        "user",
        user_id,
        next(iter(old.orgs)) if len(old.orgs) == 1 else None,
        before=_facts(before),
        after=_facts(wanted),
        touched=(("user", user_id),),
        more=more,
    )


def delete_user(user_id: str, check: Callable[[UserRow], None], now_ms: int) -> Op[Changed[UserRow] | None]:
    """Remove a person with all that they have; nothing if there is none.

    Their address may be used again.

    :param check: raises if they must not be removed.
    :raises Refusal: 409 if nobody would be left to administer the installation, or an organisation.
    """
    known = yield from standing.orgs_of(user_id)
    for org_id in sorted(known):
        yield from lock_org(org_id)
    old = (yield from get_user(user_id)) if (yield from lock_user(user_id)) else None
    if old is None:
        return None
    check(old)
    for org_id in sorted(old.orgs.keys() - known.keys()):
        yield from lock_org(org_id)
    if old.is_system_admin:
        yield from require_other_system_admin(user_id)
    for org_id, role in sorted(old.orgs.items()):
        if role == "org_admin":
            yield from require_other_org_admin(org_id, user_id)
    more = yield from removal.of_user(user_id, now_ms)
    yield q("UPDATE users SET deleted_at_ms = ?, updated_at_ms = ? WHERE id = ?", now_ms, now_ms, user_id)
    return Changed(
        old,
        "delete",
        "user",
        user_id,
        next(iter(old.orgs)) if len(old.orgs) == 1 else None,
        before=_facts(values_of(old)),
        touched=(("user", user_id),),
        more=more,
    )


def values_of(user: UserRow) -> UserValues:
    """Give what can be changed of a person."""
    return UserValues(user.email, user.name, user.is_system_admin, user.must_change_password)


def _facts(values: UserValues) -> dict[str, Any]:
    return {
        "email": values.email,
        "display_name": values.name,
        "is_system_admin": values.is_system_admin,
        "must_change_password": values.must_change_password,
    }


def _user(row: Row) -> UserRow:
    id_, email, name, created, has_password, system_admin, must_change, provider, updated = row
    return UserRow(
        id_,
        email,
        name,
        created,
        None,
        bool(system_admin),
        bool(must_change),
        provider,
        bool(has_password),
        updated,
    )
