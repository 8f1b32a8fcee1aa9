"""Access lists, aliases and limits."""

from __future__ import annotations

from typing import Any, Mapping

from attrs import evolve

from tests.admin.samples import Sample, own_org, own_team
from tests.admin.samples_keys import org_key, revoked


async def _alias(case: Any, parts: Mapping[str, str]) -> Mapping[str, str]:
    kind = "team" if "team_id" in parts else "org"
    await case.store.set_aliases(kind, parts.get("team_id", case.org.id), {"sample": "demo"})
    return {**parts, "alias_id": "sample"}


async def _org_alias(case: Any) -> Mapping[str, str]:
    return await _alias(case, await own_org(case))


async def _team_alias(case: Any) -> Mapping[str, str]:
    return await _alias(case, await own_team(case))


async def _taken(case: Any, route: Any) -> None:
    new = {"alias": "demo", "model_name": "m"}
    body = {"aliases": [new]} if route.method == "PUT" else new
    await case.call(route.method, route.path.format(**await own_team(case)), body)


_LIST = Sample(own_org, {"models": ["demo"]}, {"models": None})
_ONE, _OTHER = {"alias": "x1", "model_name": "demo"}, {"alias": "x2", "model_name": "everywhere"}
_NEW = Sample(own_org, _ONE, _OTHER, provoke={"conflict": _taken})
_ALL = Sample(own_org, {"aliases": [_ONE]}, {"aliases": [_ONE, _OTHER]}, provoke={"conflict": _taken})

SAMPLES = {
    "get_org_model_access": _LIST,
    "put_org_model_access": _LIST,
    "get_team_model_access": evolve(_LIST, make=own_team),
    "put_team_model_access": evolve(_LIST, make=own_team),
    "get_key_model_access": evolve(_LIST, make=org_key),
    "put_key_model_access": evolve(_LIST, make=org_key, provoke={"conflict": revoked}),
    "list_org_aliases": Sample(own_org),
    "create_org_alias": _NEW,
    "replace_org_aliases": _ALL,
    "delete_org_alias": Sample(_org_alias),
    "list_team_aliases": Sample(own_team),
    "create_team_alias": evolve(_NEW, make=own_team),
    "replace_team_aliases": evolve(_ALL, make=own_team),
    "delete_team_alias": Sample(_team_alias),
    "get_installation_limits": Sample(),
    "put_installation_limits": Sample(body={"requests_per_minute": 7}, other={}),
    "change_installation_limits": Sample(body={"requests_per_minute": None}, other={}),
    "get_org_limits": Sample(own_org),
    "get_team_limits": Sample(own_team),
    "get_key_limits": Sample(org_key),
}
