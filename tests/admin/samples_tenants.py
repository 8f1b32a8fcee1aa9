"""Organisations, people, memberships, teams and service accounts."""

from __future__ import annotations

from typing import Any, Mapping

from tests.admin.samples import Sample, own_org
from tests.store.support import new_id, org


async def an_org(case: Any) -> Mapping[str, str]:
    """An organisation of its own, which nobody belongs to."""
    made = await case.store.create_org(org())
    return {"org_id": made.id}


async def _slug_taken(case: Any, route: Any) -> None:
    body = {"name": "x", "slug": case.other.slug}
    await case.call(route.method, route.path.format(org_id=case.org.id), body)


def _fresh(_: Mapping[str, str]) -> Mapping[str, Any]:
    return {"name": "x", "slug": f"s-{new_id()}"}


SAMPLES = {
    "list_orgs": Sample(),
    "create_org": Sample(body=_fresh, other=_fresh, provoke={"conflict": _slug_taken}),
    "get_org": Sample(own_org),
    "change_org": Sample(own_org, {"name": "x"}, {"name": "y"}, provoke={"conflict": _slug_taken}),
    "delete_org": Sample(an_org),
}
