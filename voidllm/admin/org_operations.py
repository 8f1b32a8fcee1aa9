"""What an administrator can do with organisations."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from voidllm.admin.access import missing
from voidllm.admin.declare import Call
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.limit_checks import require_settable
from voidllm.admin.limit_shapes import asked, patched
from voidllm.admin.names import checked_zone, unique
from voidllm.admin.org_shapes import NewOrg, Org, OrgList, OrgPatch, org_view
from voidllm.admin.paging import envelope, page_of
from voidllm.auth.roles import ORG_ADMIN
from voidllm.core.principal import Limits
from voidllm.store import orgs
from voidllm.store.limits_above import Above
from voidllm.store.orgs import OrgRow, OrgValues


async def list_orgs(call: Call[OrgList, Nothing]) -> Page[Org]:
    """Give one page of the organisations that the actor administers.

    :raises Refusal: 400.
    """
    query, actor = call.query, call.actor
    page = page_of(query, query.sort)
    only = (
        None
        if actor.everywhere
        else tuple(org_id for org_id, role in actor.orgs.items() if role == ORG_ADMIN)
    )
    found = await call.read(orgs.list_orgs, only, query.q, page)
    return envelope(
        query,
        query.sort,
        found,
        org_view,
        lambda org: ({"name": org.name, "slug": org.slug}.get(page.sort, ""), org.id),
    )


async def create_org(call: Call[Nothing, NewOrg]) -> Org:
    """Make an organisation.

    :raises Refusal: 400, or 409 if the slug is taken.
    """
    ask = call.body
    zone, limits = checked_zone(ask.timezone), asked(ask)
    new = OrgRow(call.new_id(), ask.name, ask.slug, call.now_ms, limits, zone)

    def check(above: Above) -> None:
        require_settable(Limits(), limits, above, True)

    with unique("slug"):
        made = await call.change(orgs.create_org, new, check)
    assert made is not None
    return org_view(made)


async def get_org(call: Call[Nothing, Any]) -> Org:
    """Show one organisation.

    :raises Refusal: 404.
    """
    found = await call.read(orgs.get_org, call.org.id)
    if found is None:
        raise missing()
    return org_view(found)


async def change_org(call: Call[Nothing, OrgPatch]) -> Org:
    """Change some of an organisation, and show it.

    :raises Refusal: 400, 403 for limits that would be raised, 404, 409 if the slug is taken, or 412.
    """
    patch = call.body
    zone = UNSET if patch.timezone is UNSET else checked_zone(patch.timezone or "UTC")

    def decide(old: OrgRow, above: Above) -> OrgValues:
        call.demand(org_view(old))
        limits = patched(old.limits, patch)
        require_settable(old.limits, limits, above, call.actor.everywhere)
        return OrgValues(
            old.name if patch.name is UNSET else patch.name,
            old.slug if patch.slug is UNSET else patch.slug,
            old.timezone if zone is UNSET else zone,
            limits,
        )

    with unique("slug"):
        made = await call.change(orgs.change_org, call.org.id, decide, call.now_ms)
    return org_view(made) if made is not None else await get_org(call)


async def delete_org(call: Call[Nothing, Nothing]) -> None:
    """Remove an organisation with everything that it has.

    :raises Refusal: 404 or 412.
    """

    def check(old: OrgRow) -> None:
        call.demand(org_view(old))

    if await call.change(orgs.delete_org, call.org.id, check, call.now_ms) is None:
        raise missing()
