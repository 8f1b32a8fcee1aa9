"""Keys: those of an organisation, one's own, and, for administrators, those of the installation."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from voidllm.admin import key_making as making
from voidllm.admin import key_operations as operations
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Route
from voidllm.admin.key_shapes import (
    Grace,
    Key,
    KeyList,
    KeyPatch,
    MadeKey,
    NewKey,
    NewKeyAnywhere,
    OrgKeyList,
    OwnKeyList,
    Rotated,
    Sweep,
    Swept,
)
from voidllm.admin.key_sweep import revoke_keys
from voidllm.admin.kinds import Page
from voidllm.auth.roles import MEMBER, ORG_ADMIN

_KEYS = "/api/v1/keys"
_ORG_KEYS = "/api/v1/orgs/{org_id}/keys"

_EXAMPLE = {"name": "billing", "expires_in": "90d", "requests_per_minute": 60}
_WHO = (
    "Everybody sees and manages their own keys, and may make them allow less, never more. Who leads a team "
    "governs its team_keys and sa_keys, and may lower and revoke its members' keys; administrators of the "
    "organisation govern all keys of those who do not stand above them."
)
_MAKING = (
    "Everybody makes user_keys for themselves, with a team that they belong to or with none. Who leads a "
    "team makes its team_keys, and sa_keys of its service accounts. Administrators make those of the whole "
    "organisation, and user_keys of members who are no administrators, for inference only. team_keys are for "
    "inference only. Nobody gives a scope that they lack, and no limit may be greater than that of the team, "
    "the organisation or the installation; 0 leaves it to those."
)


def _one(path: str, prefix: str, tenant: str, role: str) -> tuple[Route, ...]:
    """Declare what can be done with one key, below one of its paths."""
    one = f"{path}/{{key_id}}"
    about: dict[str, Any] = {"tenant": tenant, "tag": "keys"}
    return (
        Route(
            "GET",
            one,
            f"get_{prefix}key",
            "Show a key",
            operations.get_key,
            Key,
            role,
            READ,
            tagged=True,
            description=_WHO,
            **about,
        ),
        Route(
            "PATCH",
            one,
            f"change_{prefix}key",
            "Change a key",
            operations.change_key,
            Key,
            role,
            WRITE,
            body=KeyPatch,
            codes=("conflict",),
            tagged=True,
            guarded=True,
            example={"daily_token_limit": 200000, "models": None},
            description=f"A JSON merge patch (RFC 7396) of a key that is not revoked. {_WHO}",
            **about,
        ),
        Route(
            "DELETE",
            one,
            f"revoke_{prefix}key",
            "Revoke a key for good",
            operations.revoke_key,
            Key,
            role,
            WRITE,
            codes=("conflict",),
            tagged=True,
            guarded=True,
            description=_WHO,
            **about,
        ),
        Route(
            "POST",
            f"{one}/rotate",
            f"rotate_{prefix}key",
            "Put a new key in the place of one",
            making.rotate_key,
            Rotated,
            role,
            WRITE,
            body=Grace,
            codes=("conflict",),
            guarded=True,
            secrets=("new_key.key",),
            example={"grace": "24h"},
            description="The new key has owner, limits, models, networks, tags, scopes and expiry of the old "
            "one, and whoever rotates it must be allowed to make it.",
            **about,
        ),
    )


_MAKE = Route(
    "POST",
    _ORG_KEYS,
    "create_org_key",
    "Make a key",
    making.create_key,
    MadeKey,
    MEMBER,
    WRITE,
    tenant="org",
    body=NewKey,
    status=201,
    codes=("conflict",),
    secrets=("key",),
    example=_EXAMPLE,
    description=_MAKING,
    tag="keys",
)

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        _ORG_KEYS,
        "list_org_keys",
        "List keys of an organisation",
        operations.list_org_keys,
        Page[Key],
        MEMBER,
        READ,
        tenant="org",
        query=OrgKeyList,
        description=f"Those that the caller sees. {_WHO}",
        tag="keys",
    ),
    _MAKE,
    Route(
        "POST",
        f"{_ORG_KEYS}/bulk-revoke",
        "revoke_org_keys",
        "Revoke many keys for good",
        revoke_keys,
        Swept,
        MEMBER,
        WRITE,
        tenant="org",
        body=Sweep,
        example={"unused_since": "90d", "dry_run": True},
        description="Either the keys in `ids`, all or none, or those that the caller may revoke among all "
        "that fit the rest; at most 500 a time, the oldest first. Keys that are revoked are passed over.",
        tag="keys",
    ),
    *_one(_ORG_KEYS, "org_", "org", MEMBER),
    Route(
        "GET",
        "/api/v1/me/keys",
        "list_own_keys",
        "List one's own keys",
        operations.list_own_keys,
        Page[Key],
        MEMBER,
        READ,
        tenant="self",
        query=OwnKeyList,
        tag="keys",
    ),
    Route(
        "GET",
        _KEYS,
        "list_keys",
        "List keys",
        operations.list_keys,
        Page[Key],
        ORG_ADMIN,
        READ,
        query=KeyList,
        codes=("not_found",),
    ),
    evolve(
        _MAKE,
        path=_KEYS,
        name="create_key",
        summary="Make a key in any organisation",
        role=ORG_ADMIN,
        tenant="own",
        body=NewKeyAnywhere,
        codes=("not_found", "conflict"),
    ),
    *_one(_KEYS, "", "own", ORG_ADMIN),
)
