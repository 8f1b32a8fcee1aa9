"""``/api/v1/keys``."""

from __future__ import annotations

from voidllm.admin import key_operations as operations
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Route
from voidllm.admin.key_shapes import Grace, Key, KeyList, KeyPatch, MadeKey, NewKey, Rotated
from voidllm.admin.kinds import Page
from voidllm.auth.roles import ORG_ADMIN

_ALL = "/api/v1/keys"
_ONE = "/api/v1/keys/{key_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_keys",
        "List keys",
        operations.list_keys,
        Page[Key],
        ORG_ADMIN,
        READ,
        query=KeyList,
        codes=("not_found",),
    ),
    Route(
        "POST",
        _ALL,
        "create_key",
        "Make a key",
        operations.create_key,
        MadeKey,
        ORG_ADMIN,
        WRITE,
        body=NewKey,
        status=201,
        codes=("not_found", "conflict"),
        secrets=("key",),
        example={"name": "billing", "expires_in": "90d", "requests_per_minute": 60},
        description="Nobody makes a key for somebody of a higher role, or with a scope that they lack.",
    ),
    Route("GET", _ONE, "get_key", "Show a key", operations.get_key, Key, ORG_ADMIN, READ, tagged=True),
    Route(
        "PATCH",
        _ONE,
        "change_key",
        "Change a key",
        operations.change_key,
        Key,
        ORG_ADMIN,
        WRITE,
        body=KeyPatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example={"tokens_per_day": 200000, "models": None},
        description="A JSON merge patch (RFC 7396) of a key that is not revoked.",
    ),
    Route(
        "DELETE",
        _ONE,
        "revoke_key",
        "Revoke a key for good",
        operations.revoke_key,
        Key,
        ORG_ADMIN,
        WRITE,
        codes=("conflict",),
        tagged=True,
        guarded=True,
    ),
    Route(
        "POST",
        _ONE + "/rotate",
        "rotate_key",
        "Put a new key in the place of one",
        operations.rotate_key,
        Rotated,
        ORG_ADMIN,
        WRITE,
        body=Grace,
        codes=("conflict",),
        secrets=("new_key.key",),
        example={"grace": "24h"},
        description="The new key has owner, limits, models, scopes and expiry of the old one.",
    ),
)
