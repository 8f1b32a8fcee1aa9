"""``/api/v1/orgs/{org_id}/members``: who belongs to an organisation."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from voidllm.admin.access import READ, WRITE, missing, require_not_above_in
from voidllm.admin.declare import Call, Route
from voidllm.admin.expanding import expanded
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.member_shapes import Member, MemberList, MemberPatch, NewMember, member_view
from voidllm.admin.names import unique
from voidllm.admin.paging import envelope, page_of
from voidllm.auth.roles import MEMBER, ORG_ADMIN, SYSTEM_ADMIN
from voidllm.store import memberships
from voidllm.store.memberships import Membership
from voidllm.store.users import UserRow


async def list_members(call: Call[MemberList, Nothing]) -> Page[Member]:
    """Give one page of the members of an organisation.

    :raises Refusal: 400.
    """
    query = call.query
    page = page_of(query, query.sort)
    found = await call.read(memberships.list_members, call.org.id, query.role, query.q, page)
    shown = envelope(
        query,
        query.sort,
        found,
        member_view,
        lambda member: (member.email if page.sort == "email" else member.name, member.user_id),
    )
    return await expanded(call.context.store, shown, query.expand or ())


async def add_member(call: Call[Nothing, NewMember]) -> Member:
    """Make somebody who is there already a member.

    Nobody is drawn into an organisation by strangers: it would take them from those who manage them, and
    from the identity provider of their own organisation. Whoever is elsewhere is invited, and consents.

    :raises Refusal: 403 for a role above one's own, 404 for the user, 409 if they are one already.
    """
    ask, org_id, actor = call.body, call.org.id, call.actor
    require_not_above_in(actor, org_id, ask.role)

    def check(person: UserRow) -> None:
        if not actor.everywhere and not any(actor.orgs.get(known) == ORG_ADMIN for known in person.orgs):
            raise missing("user_id")
        require_not_above_in(actor, org_id, SYSTEM_ADMIN if person.is_system_admin else MEMBER)

    with unique("user_id"):
        made = await call.change(memberships.add_member, org_id, ask.user_id, ask.role, check, call.now_ms)
    if made is None:
        raise missing("user_id")
    return member_view(made)


async def get_member(call: Call[Nothing, Any]) -> Member:
    """Show one membership.

    :raises Refusal: 404.
    """
    found = await call.read(memberships.get_member, call.org.id, call.path["user_id"])
    if found is None:
        raise missing()
    return member_view(found)


async def change_member(call: Call[Nothing, MemberPatch]) -> Member:
    """Give a member another role, and show them.

    :raises Refusal: 403 for somebody or a role above one's own, 404, 409 for the last administrator,
        or 412.
    """
    org_id, patch = call.org.id, call.body

    def decide(old: Membership) -> str:
        _check(call, old)
        role = old.role if patch.role is UNSET else patch.role
        require_not_above_in(call.actor, org_id, role)
        return role

    made = await call.change(memberships.change_member, org_id, call.path["user_id"], decide)
    return member_view(made) if made is not None else await get_member(call)


async def remove_member(call: Call[Nothing, Nothing]) -> None:
    """Take somebody out of an organisation and its teams.

    :raises Refusal: 403 for somebody above oneself, 404, 409 for the last administrator, or 412.
    """

    def check(old: Membership) -> None:
        _check(call, old)

    made = await call.change(memberships.remove_member, call.org.id, call.path["user_id"], check, call.now_ms)
    if made is None:
        raise missing()


def _check(call: Call[Nothing, Any], old: Membership) -> None:
    require_not_above_in(call.actor, old.org_id, old.rank)
    call.demand(member_view(old))


_ALL = "/api/v1/orgs/{org_id}/members"
_ONE = "/api/v1/orgs/{org_id}/members/{user_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_members",
        "List the members of an organisation",
        list_members,
        Page[Member],
        ORG_ADMIN,
        READ,
        tenant="org",
        query=MemberList,
        tag="members",
    ),
    Route(
        "POST",
        _ALL,
        "add_member",
        "Make somebody a member of an organisation",
        add_member,
        Member,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        body=NewMember,
        status=201,
        codes=("conflict",),
        example={"user_id": "0199c0de-7a1b-7c3d-8e9f-0123456789ab", "role": "member"},
        description=(
            "Of somebody of another organisation that the caller administers, or for a system_admin of"
            " anybody; others are asked by an invite. Up to the role org_admin."
        ),
        tag="members",
    ),
    Route(
        "GET",
        _ONE,
        "get_member",
        "Show a membership",
        get_member,
        Member,
        ORG_ADMIN,
        READ,
        tenant="org",
        tagged=True,
        tag="members",
    ),
    Route(
        "PATCH",
        _ONE,
        "change_member",
        "Give a member another role",
        change_member,
        Member,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        body=MemberPatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example={"role": "org_admin"},
        description="A JSON merge patch (RFC 7396). The last org_admin stays one.",
        tag="members",
    ),
    Route(
        "DELETE",
        _ONE,
        "remove_member",
        "Take somebody out of an organisation",
        remove_member,
        None,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        status=204,
        codes=("conflict",),
        guarded=True,
        description="Their teams there and their keys go along at once. The last org_admin stays.",
        tag="members",
    ),
)
