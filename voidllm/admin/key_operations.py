"""What an administrator can do with keys. Who may is checked here as far as it depends on the key."""

from __future__ import annotations

from attrs import asdict, evolve
from msgspec import UNSET

from voidllm.admin.access import (
    Actor,
    missing,
    require_grantable,
    require_not_above_in,
    require_org,
)
from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Call, changed
from voidllm.admin.expanding import expanded
from voidllm.admin.fields import bad
from voidllm.admin.key_shapes import Grace, Key, KeyList, KeyPatch, MadeKey, NewKey, OldKey, Rotated
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.minting import checked_expiry, expiry_of, find_owner
from voidllm.admin.moments import moment, span_ms, to_ms
from voidllm.admin.paging import envelope, page_of
from voidllm.admin.views import key_view, made_key_view
from voidllm.auth.keys import generate, hint
from voidllm.auth.roles import ORG_ADMIN
from voidllm.core.errors import Refusal
from voidllm.core.ids import uuid7
from voidllm.core.principal import Limits
from voidllm.store.records import DEFAULT_SCOPES, ApiKey, KeyChange, KeyFilter, NewSecret
from voidllm.store.records import NewKey as StoredKey

LIMITS = tuple(asdict(Limits()))
#: How often a change is decided anew that others keep overtaking.
_ATTEMPTS = 5


async def create_key(call: Call[Nothing, NewKey]) -> MadeKey:
    """Make a key; the reply is the only place that it is ever in.

    :raises Refusal: 400 for the fields, 403 for what the actor may not give, 404 for the owner.
    """
    context, actor, ask = call.context, call.actor, call.body
    world = context.world
    now_ms = world.wall_ms()
    expires_ms = expiry_of(ask, now_ms)
    scopes = DEFAULT_SCOPES if ask.scopes is None else frozenset(ask.scopes)
    require_grantable(actor, scopes)
    owner = await find_owner(context, actor, ask, now_ms)
    require_not_above_in(actor, owner.org_id, owner.role)
    if owner.new_account is not None:
        await context.store.create_service_account(owner.new_account)
    secret = generate(ask.key_type, world.random_bytes)
    new = StoredKey(
        id=uuid7(now_ms, world.random_bytes),
        hash=_digest(context, secret),
        hint=hint(secret),
        key_type=ask.key_type,
        name=ask.name,
        org_id=owner.org_id,
        team_id=owner.team_id,
        user_id=owner.user_id,
        service_account_id=owner.service_account_id,
        scopes=scopes,
        limits=Limits(**{name: getattr(ask, name) for name in LIMITS}),
        models=None if ask.models is None else frozenset(ask.models),
        expires_at_ms=expires_ms,
    )
    return made_key_view(await context.store.create_key(new, now_ms), secret)


async def list_keys(call: Call[KeyList, Nothing]) -> Page[Key]:
    """Give one page of the keys that the actor may see.

    :raises Refusal: 400 or 404.
    """
    query, store = call.query, call.context.store
    page = page_of(query, query.sort)
    org_id = None if call.actor.everywhere else call.actor.org_id
    if query.org is not None:
        org = await store.find_org(query.org)
        if org is None:
            raise Refusal(404, "not_found", "there is no such org", param="org")
        require_org(call.actor, org.id, ORG_ADMIN)
        org_id = org.id
    wanted = KeyFilter(
        org_id,
        query.team,
        query.user,
        query.service_account,
        query.key_type,
        query.q,
        query.include_revoked,
    )
    found = await store.list_keys(wanted, page)
    shown = envelope(
        query, query.sort, found, key_view, lambda key: (key.name if page.sort == "name" else "", key.id)
    )
    return await expanded(store, shown, query.expand or ())


async def get_key(call: Call[Nothing, Nothing]) -> Key:
    """Show one key, revoked or not.

    :raises Refusal: 404 if there is none for the actor.
    """
    return key_view(await _find(call.context, call.actor, call.path["key_id"]))


async def change_key(call: Call[Nothing, KeyPatch]) -> Key:
    """Change some of a key, and show it.

    :raises Refusal: 400, 403, 404, 409 if it is revoked, or 412.
    """
    patch = call.body
    now_ms = call.context.world.wall_ms()
    for _ in range(_ATTEMPTS):
        key = await _find(call.context, call.actor, call.path["key_id"])
        require_not_above_in(call.actor, key.org_id, key.role)
        call.demand(key_view(key))
        if key.revoked_at_ms is not None:
            raise Refusal(409, "conflict", "the key is revoked")
        made = await call.context.store.update_key(key.id, _changed(key, patch, now_ms), key.revision)
        if made is not None:
            return key_view(made)
    raise changed()


def _changed(key: ApiKey, patch: KeyPatch, now_ms: int) -> KeyChange:
    limits = {name: value or 0 for name in LIMITS if (value := getattr(patch, name)) is not UNSET}
    change = KeyChange(key.name, evolve(key.limits, **limits), key.models, key.expires_at_ms)
    if patch.name is not UNSET:
        change = evolve(change, name=patch.name)
    if patch.models is not UNSET:
        change = evolve(change, models=None if patch.models is None else frozenset(patch.models))
    if patch.expires_at is None:
        change = evolve(change, expires_at_ms=None)
    elif patch.expires_at is not UNSET:
        change = evolve(change, expires_at_ms=checked_expiry(to_ms(patch.expires_at), now_ms))
    return change


async def revoke_key(call: Call[Nothing, Nothing]) -> Key:
    """Revoke a key for good, and show it.

    :raises Refusal: 404, 412, or 409 if it was revoked before.
    """
    context = call.context
    key = await _find(context, call.actor, call.path["key_id"])
    require_not_above_in(call.actor, key.org_id, key.role)
    call.demand(key_view(key))
    if not await context.store.revoke_key(key.id, context.world.wall_ms()):
        raise Refusal(409, "conflict", "the key is revoked already")
    return key_view(await _find(context, call.actor, key.id))


async def rotate_key(call: Call[Nothing, Grace]) -> Rotated:
    """Put a new key in the place of one, which stays valid for a while.

    The old key ends when the grace time does, or earlier if it would anyway.

    :raises Refusal: 400, 403, 404, or 409 if the key is not alive.
    """
    context, actor = call.context, call.actor
    grace_ms = span_ms("grace", call.body.grace)
    old = await _find(context, actor, call.path["key_id"])
    require_not_above_in(actor, old.org_id, old.role)
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
    return Rotated(
        new_key=made_key_view(key, secret),
        old_key=OldKey(id=old.id, key_hint=old.hint, expires_at=moment(ends)),
    )


async def _find(context: AdminContext, actor: Actor, key_id: str) -> ApiKey:
    key: ApiKey | None = await context.store.get_key(key_id)
    if key is None:
        raise missing()
    require_org(actor, key.org_id, ORG_ADMIN)
    return key


def _digest(context: AdminContext, secret: str) -> str:
    return context.digester.digest(secret.encode("ascii")).hex()
