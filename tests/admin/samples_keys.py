"""Keys."""

from __future__ import annotations

from typing import Any, Mapping

from tests.admin.samples import Sample
from voidllm.core.errors import StoreConflict


async def a_key(case: Any) -> Mapping[str, str]:
    await case.mint("sample", case.org, user_id=case.admin.id)
    return {"key_id": case.ids["sample"]}


async def _no_org(case: Any, route: Any) -> None:
    if route.method == "GET":
        await case.call("GET", route.path + "?org=nowhere")
    else:
        await case.call("POST", route.path, {"name": "x", "org": "nowhere"})


async def _twice(case: Any, route: Any) -> None:
    with case.instead("create_key", StoreConflict()):
        await case.call("POST", route.path, {"name": "x"})


async def _revoked(case: Any, route: Any) -> None:
    parts = await a_key(case)
    await case.store.revoke_key(parts["key_id"], case.world.wall_ms())
    await case.call(route.method, route.path.format(**parts), SAMPLES[route.name].body)


SAMPLES = {
    "list_keys": Sample(provoke={"not_found": _no_org}),
    "create_key": Sample(
        body={"name": "x"}, other={"name": "y"}, provoke={"not_found": _no_org, "conflict": _twice}
    ),
    "get_key": Sample(a_key),
    "change_key": Sample(a_key, {"name": "x"}, {"name": "y"}, provoke={"conflict": _revoked}),
    "revoke_key": Sample(a_key, provoke={"conflict": _revoked}),
    "rotate_key": Sample(a_key, {"grace": "1h"}, {"grace": "2h"}, provoke={"conflict": _revoked}),
}
