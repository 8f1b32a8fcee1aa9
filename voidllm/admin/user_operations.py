"""What an administrator can do with people."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from voidllm.admin.access import Actor, missing, require_not_above_in, require_org
from voidllm.admin.access_users import require_may_manage_user
from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.names import unique
from voidllm.admin.paging import envelope, page_of
from voidllm.admin.user_shapes import NewUser, User, UserList, UserPatch, user_view
from voidllm.auth.roles import MEMBER, ORG_ADMIN
from voidllm.core.errors import Refusal
from voidllm.store import directory, users
from voidllm.store.standing import Standing
from voidllm.store.users import UserFilter, UserRow, UserValues


async def list_users(call: Call[UserList, Nothing]) -> Page[User]:
    """Give one page of the people in the organisations that the actor administers.

    :raises Refusal: 400, or 403 or 404 for the organisation.
    """
    query, actor = call.query, call.actor
    page = page_of(query, query.sort)
    within = None if actor.everywhere else _administered(actor)
    if query.org is not None:
        org = await call.read(directory.find_org, query.org)
        if org is None:
            raise missing("org")
        require_org(actor, org.id, ORG_ADMIN)
        within = (org.id,)
    found = await call.read(users.list_users, UserFilter(within, query.is_system_admin, query.q), page)
    return envelope(
        query,
        query.sort,
        found,
        user_view,
        lambda user: ({"email": user.email, "display_name": user.name}.get(page.sort, ""), user.id),
    )


async def create_user(call: Call[Nothing, NewUser]) -> User:
    """Make a person, and a member of an organisation.

    :raises Refusal: 400, 403 for what the actor may not give, 404 for the organisation, 409 if the
        address is somebody's.
    """
    actor, ask = call.actor, call.body
    org_id = None
    if ask.org_id is not None:
        org = await call.read(directory.find_org, ask.org_id)
        if org is None or actor.role_in(org.id) is None:
            raise missing("org_id")
        require_org(actor, org.id, ORG_ADMIN)
        require_not_above_in(actor, org.id, ask.role)
        org_id = org.id
    elif not actor.everywhere:
        raise bad("org_id is required", param="org_id")
    elif ask.role != MEMBER:
        raise bad("a role is one in an organisation: org_id is required", param="org_id")
    if ask.is_system_admin and not actor.everywhere:
        raise _not_yours_to_give()
    new = UserRow(
        call.new_id(),
        ask.email.lower(),
        ask.display_name,
        call.now_ms,
        None if ask.password is None else await call.context.passwords.hash(ask.password, _payer(actor)),
        ask.is_system_admin,
        ask.must_change_password,
    )
    with unique("email"):
        made = await call.change(users.create_user, new, org_id, ask.role)
    if made is None:
        raise missing("org_id")
    return user_view(made)


async def get_user(call: Call[Nothing, Any]) -> User:
    """Show one person.

    :raises Refusal: 404 for somebody in none of the organisations that the actor administers.
    """
    found = await call.read(users.get_user, call.path["user_id"])
    actor = call.actor
    if found is None or not (actor.everywhere or set(found.orgs) & set(_administered(actor))):
        raise missing()
    return user_view(found)


async def change_user(call: Call[Nothing, UserPatch]) -> User:
    """Change some of a person, and show them.

    :raises Refusal: 400, 403, 404, 409 if the address is somebody's or nobody would be left to
        administer the installation, or 412.
    """
    patch, actor = call.body, call.actor
    # Nobody has a password computed who may not set it.
    found = await call.read(users.get_user, call.path["user_id"])
    require_may_manage_user(actor, None if found is None else _standing(found))
    hashed = (
        None if patch.password is UNSET else await call.context.passwords.hash(patch.password, _payer(actor))
    )

    def decide(old: UserRow) -> UserValues:
        require_may_manage_user(actor, _standing(old))
        call.demand(user_view(old))
        system_admin = old.is_system_admin if patch.is_system_admin is UNSET else patch.is_system_admin
        if system_admin != old.is_system_admin and not actor.everywhere:
            raise _not_yours_to_give()
        if hashed is not None and old.auth_provider != "local":
            raise Refusal(409, "conflict", "somebody else vouches for this person", param="password")
        return UserValues(
            old.email if patch.email is UNSET else patch.email.lower(),
            old.name if patch.display_name is UNSET else patch.display_name,
            system_admin,
            old.must_change_password if patch.must_change_password is UNSET else patch.must_change_password,
            hashed,
        )

    with unique("email"):
        made = await call.change(users.change_user, call.path["user_id"], decide, call.now_ms)
    return user_view(made) if made is not None else await get_user(call)


async def delete_user(call: Call[Nothing, Nothing]) -> None:
    """Remove a person with everything that they have.

    :raises Refusal: 403, 404, 409 if nobody would be left to administer what they do, or 412.
    """

    def check(old: UserRow) -> None:
        require_may_manage_user(call.actor, _standing(old))
        call.demand(user_view(old))

    if await call.change(users.delete_user, call.path["user_id"], check, call.now_ms) is None:
        raise missing()


def _administered(actor: Actor) -> tuple[str, ...]:
    return tuple(org_id for org_id, role in actor.orgs.items() if role == ORG_ADMIN)


def _payer(actor: Actor) -> str:
    return "" if actor.everywhere else actor.org_id or actor.subject


def _standing(user: UserRow) -> Standing:
    return Standing(frozenset(), orgs=user.orgs, system_admin=user.is_system_admin)


def _not_yours_to_give() -> Refusal:
    return Refusal(403, "forbidden", "only a system_admin makes one, or unmakes one", param="is_system_admin")
