"""Keys."""

from __future__ import annotations

from typing import Any, Mapping

from attrs import evolve

from tests.admin.samples import Sample, own_org
from voidllm.core.errors import StoreConflict


async def a_key(case: Any) -> Mapping[str, str]:
    await case.mint("sample", case.org, user_id=case.admin.id)
    return {"key_id": case.ids["sample"]}


async def org_key(case: Any) -> Mapping[str, str]:
    return {"org_id": case.org.id, **await a_key(case)}


async def _no_org(case: Any, route: Any) -> None:
    if route.method == "GET":
        await case.call("GET", route.path + "?org_id=nowhere")
    else:
        await case.call("POST", route.path, {"name": "x", "org_id": "nowhere"})


async def _owner_gone(case: Any, route: Any) -> None:
    with case.instead("change", StoreConflict()):
        await case.call("POST", route.path.format(org_id=case.org.id), {"name": "x"})


async def revoked(case: Any, route: Any) -> None:
    parts = await org_key(case)
    await case.store.revoke_key(parts["key_id"], case.world.wall_ms())
    body = {"models": []} if route.method == "PUT" else SAMPLES[route.name].body
    await case.call(route.method, route.path.format(**parts), body)


_ONE = {
    "get_key": Sample(a_key),
    "change_key": Sample(a_key, {"name": "x"}, {"name": "y"}, provoke={"conflict": revoked}),
    "revoke_key": Sample(a_key, provoke={"conflict": revoked}),
    "rotate_key": Sample(a_key, {"grace": "1h"}, {"grace": "2h"}, provoke={"conflict": revoked}),
}
_MADE = Sample(
    body={"name": "x"}, other={"name": "y"}, provoke={"not_found": _no_org, "conflict": _owner_gone}
)
_SWEEP = {"name_prefix": "nothing is called so"}

SAMPLES = {
    "list_keys": Sample(provoke={"not_found": _no_org}),
    "create_key": _MADE,
    **_ONE,
    "list_own_keys": Sample(),
    "list_org_keys": Sample(own_org),
    "create_org_key": evolve(_MADE, make=own_org, provoke={"conflict": _owner_gone}),
    "revoke_org_keys": Sample(own_org, _SWEEP, {**_SWEEP, "dry_run": True}),
    **{name.replace("_key", "_org_key"): evolve(sample, make=org_key) for name, sample in _ONE.items()},
}
