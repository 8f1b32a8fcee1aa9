"""What an administrator can do, from plain values to plain values.

The HTTP application and the commands on a stopped gateway both end here, so that they
cannot differ. Access is checked here too: nothing below asks who calls.
"""

from __future__ import annotations

from typing import Any, Mapping

from voidllm.admin.access import (
    READ,
    WRITE,
    Actor,
    require_grantable,
    require_may_act_on,
    require_own_org,
    require_scope,
)
from voidllm.admin.context import AdminContext
from voidllm.admin.fields import bad, flag, known_only, text
from voidllm.admin.minting import find_owner, read_ask
from voidllm.admin.moments import show
from voidllm.admin.views import key_view
from voidllm.auth.keys import generate, hint
from voidllm.auth.roles import require_not_above
from voidllm.config.durations import parse_duration
from voidllm.core.errors import Refusal
from voidllm.core.ids import uuid7
from voidllm.store.pages import Page
from voidllm.store.records import ApiKey, KeyFilter, NewKey, NewSecret

DEFAULT_PAGE = 20
MOST_PER_PAGE = 100
DEFAULT_GRACE = "24h"


async def create_key(context: AdminContext, actor: Actor, body: Mapping[str, Any]) -> dict[str, Any]:
    """Make a key; the reply is the only place that it is ever in.

    :raises Refusal: 400 for the fields, 403 for what the actor may not give, 404 for the owner.
    """
    require_scope(actor, WRITE)
    world = context.world
    now_ms = world.wall_ms()
    ask = read_ask(body, now_ms)
    require_grantable(actor, ask.scopes)
    owner = await find_owner(context, actor, ask, now_ms)
    require_not_above(actor.role, owner.role)
    if owner.new_account is not None:
        await context.store.create_service_account(owner.new_account)
    secret = generate(ask.key_type, world.random_bytes)
    new = NewKey(
        id=uuid7(now_ms, world.random_bytes),
        hash=_digest(context, secret),
        hint=hint(secret),
        key_type=ask.key_type,
        name=ask.name,
        org_id=owner.org_id,
        team_id=owner.team_id,
        user_id=owner.user_id,
        service_account_id=owner.service_account_id,
        scopes=ask.scopes,
        limits=ask.limits,
        models=ask.models,
        expires_at_ms=ask.expires_at_ms,
    )
    key = await context.store.create_key(new, now_ms)
    return {**key_view(key), "key": secret}


async def list_keys(context: AdminContext, actor: Actor, query: Mapping[str, str]) -> dict[str, Any]:
    """Give one page of the keys that the actor may see, oldest first.

    :param query: ``limit`` (1 to 100), ``cursor``, ``org``, ``include_revoked``.
    :raises Refusal: 400 or 404.
    """
    require_scope(actor, READ)
    known_only(query, ("limit", "cursor", "org", "include_revoked"))
    limit = _limit(query.get("limit"))
    org_id = actor.org_id
    ref = text(query, "org")
    if ref is not None:
        org = await context.store.find_org(ref)
        if org is None:
            raise Refusal(404, "not_found", "there is no such org", param="org")
        require_own_org(actor, org.id)
        org_id = org.id
    cursor = text(query, "cursor")
    wanted = KeyFilter(org_id, include_revoked=flag(query, "include_revoked"))
    page_wanted = Page(limit + 1, after=None if cursor is None else ("", cursor))
    found = await context.store.list_keys(wanted, page_wanted)
    page: dict[str, Any] = {"data": [key_view(key) for key in found[:limit]], "has_more": len(found) > limit}
    if page["has_more"]:
        page["next_cursor"] = found[limit - 1].id
    return page


async def get_key(context: AdminContext, actor: Actor, key_id: str) -> dict[str, Any]:
    """Show one key, revoked or not.

    :raises Refusal: 404 if there is none for the actor.
    """
    require_scope(actor, READ)
    return key_view(await _find(context, actor, key_id))


async def revoke_key(context: AdminContext, actor: Actor, key_id: str) -> dict[str, Any]:
    """Revoke a key for good, and show it.

    :raises Refusal: 404, or 409 if it was revoked before.
    """
    require_scope(actor, WRITE)
    key = await _find(context, actor, key_id)
    require_may_act_on(actor, key.org_id, key.role)
    if not await context.store.revoke_key(key.id, context.world.wall_ms()):
        raise Refusal(409, "conflict", "the key is revoked already")
    return key_view(await _find(context, actor, key_id))


async def rotate_key(
    context: AdminContext, actor: Actor, key_id: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Put a new key in the place of one, which stays valid for a while.

    :param body: ``grace``, a duration; the old key ends then, or earlier if it would anyway.
    :raises Refusal: 400, 403, 404, or 409 if the key is not alive.
    """
    require_scope(actor, WRITE)
    known_only(body, ("grace",))
    try:
        grace_ms = parse_duration(text(body, "grace", DEFAULT_GRACE) or "")
    except ValueError:
        raise bad("grace must be a duration, for example 24h", param="grace") from None
    old = await _find(context, actor, key_id)
    require_may_act_on(actor, old.org_id, old.role)
    # The one who rotates a key gets to know the new one.
    require_grantable(actor, old.scopes)
    if old.key_type == "session_key":
        raise bad("a session is not rotated; log in again")
    world = context.world
    now_ms = world.wall_ms()
    secret = generate(old.key_type, world.random_bytes)
    successor = NewSecret(
        uuid7(now_ms, world.random_bytes), _digest(context, secret), hint(secret), old.expires_at_ms
    )
    key = await context.store.rotate_key(old.id, successor, now_ms + grace_ms, now_ms)
    if key is None:
        raise Refusal(409, "conflict", "the key is revoked or has expired")
    ends = now_ms + grace_ms if old.expires_at_ms is None else min(old.expires_at_ms, now_ms + grace_ms)
    return {
        "new_key": {**key_view(key), "key": secret},
        "old_key": {"id": old.id, "key_hint": old.hint, "expires_at": show(ends)},
    }


async def _find(context: AdminContext, actor: Actor, key_id: str) -> ApiKey:
    key: ApiKey | None = await context.store.get_key(key_id)
    if key is None:
        raise Refusal(404, "not_found", "there is no such thing, or it is not yours")
    require_own_org(actor, key.org_id)
    return key


def _digest(context: AdminContext, secret: str) -> str:
    return context.digester.digest(secret.encode("ascii")).hex()


def _limit(given: str | None) -> int:
    if given is None:
        return DEFAULT_PAGE
    if not given.isascii() or not given.isdecimal() or len(given) > 9 or int(given) < 1:
        raise bad("limit must be a number from 1 up", param="limit")
    return min(int(given), MOST_PER_PAGE)
