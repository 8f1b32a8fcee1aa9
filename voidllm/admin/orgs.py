"""``/api/v1/orgs``."""

from __future__ import annotations

from voidllm.admin import org_operations as operations
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Route
from voidllm.admin.kinds import Page
from voidllm.admin.org_shapes import NewOrg, Org, OrgList, OrgPatch
from voidllm.auth.roles import ORG_ADMIN, SYSTEM_ADMIN

_ALL = "/api/v1/orgs"
_ONE = "/api/v1/orgs/{org_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_orgs",
        "List organisations",
        operations.list_orgs,
        Page[Org],
        ORG_ADMIN,
        READ,
        query=OrgList,
    ),
    Route(
        "POST",
        _ALL,
        "create_org",
        "Make an organisation",
        operations.create_org,
        Org,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=NewOrg,
        status=201,
        codes=("conflict",),
        example={"name": "Research", "slug": "research", "timezone": "Europe/Berlin"},
    ),
    Route(
        "GET",
        _ONE,
        "get_org",
        "Show an organisation",
        operations.get_org,
        Org,
        ORG_ADMIN,
        READ,
        tenant="org",
        tagged=True,
    ),
    Route(
        "PATCH",
        _ONE,
        "change_org",
        "Change an organisation",
        operations.change_org,
        Org,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        body=OrgPatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example={"name": "Research and Development", "daily_token_limit": 1000000},
        description="A JSON merge patch (RFC 7396). Only a system_admin may raise a limit, or take it away.",
    ),
    Route(
        "DELETE",
        _ONE,
        "delete_org",
        "Remove an organisation",
        operations.delete_org,
        None,
        SYSTEM_ADMIN,
        WRITE,
        tenant="org",
        status=204,
        guarded=True,
        description="Its teams, service accounts, memberships and keys go along at once; its people stay.",
    ),
)
