"""New keys: made, or put in the place of others. The reply is the only place that one is ever in."""

from __future__ import annotations

from typing import Any

from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.admin.key_operations import find, revoked
from voidllm.admin.key_rules import require_allows_less, require_may_change, require_may_mint
from voidllm.admin.key_shapes import Grace, MadeKey, NewKey, OldKey, Rotated
from voidllm.admin.kinds import Nothing
from voidllm.admin.limit_checks import require_settable
from voidllm.admin.limit_rules import require_only_lowered
from voidllm.admin.limit_shapes import asked
from voidllm.admin.minting import expiry_of, find_owner, grace_of
from voidllm.admin.model_names import require_models
from voidllm.admin.moments import moment
from voidllm.admin.networks import networks_of
from voidllm.admin.views import key_view, made_key_view
from voidllm.auth.keys import generate, hint
from voidllm.core.errors import Refusal
from voidllm.core.principal import Limits
from voidllm.store import key_changes, keys
from voidllm.store.limits_above import Above
from voidllm.store.records import DEFAULT_SCOPES, ApiKey, KeyChange, NewSecret
from voidllm.store.records import NewKey as StoredKey


async def create_key(call: Call[Nothing, NewKey]) -> MadeKey:
    """Make a key; one that another key makes for its own bearer allows no more than that.

    :raises Refusal: 400 for the fields, 403 for what the actor may not give, 404 for the owner.
    """
    ask, now_ms = call.body, call.now_ms
    expires_ms, limits = expiry_of(ask, now_ms), asked(ask)
    scopes = DEFAULT_SCOPES if ask.scopes is None else frozenset(ask.scopes)
    networks = networks_of(ask.allowed_addresses)
    owner = await find_owner(call, scopes)
    await require_models(call, ask.models or ())
    secret = generate(ask.key_type, call.context.world.random_bytes)
    new = StoredKey(
        id=call.new_id(),
        hash=_digest(call, secret),
        hint=hint(secret),
        key_type=ask.key_type,
        name=ask.name,
        org_id=owner.org_id,
        team_id=owner.team_id,
        user_id=owner.user_id,
        service_account_id=owner.service_account_id,
        scopes=scopes,
        limits=limits,
        models=None if ask.models is None else frozenset(ask.models),
        expires_at_ms=expires_ms,
        addresses=networks,
        tags=ask.tags or {},
        created_by=call.actor.user_id,
    )

    maker = await _maker(call, new)

    def check(above: Above) -> None:
        require_settable(Limits(), limits, above, True)
        if maker is not None:
            require_allows_less(_what(maker), _what(new))
            require_only_lowered(maker.limits, limits)

    made = await call.change(key_changes.make_key, new, owner.new_account, owner.in_team, check, now_ms)
    assert made is not None
    return made_key_view(made, secret)


async def _maker(call: Call[Nothing, NewKey], new: StoredKey) -> ApiKey | None:
    """Give the key that the actor came with, if the new one speaks for the same bearer.

    Otherwise a key that ends soon, or may be used from one place only, would make one without that.
    """
    if call.actor.key_id is None:
        return None
    own = await call.read(keys.get_key, call.actor.key_id)
    if own is None:
        raise revoked()
    return own if _bearer(own) == _bearer(new) else None


def _bearer(key: ApiKey | StoredKey) -> str | None:
    return key.user_id or key.service_account_id or key.team_id


def _what(key: ApiKey | StoredKey) -> KeyChange:
    return KeyChange(key.name, key.limits, key.models, key.expires_at_ms, key.addresses, key.tags)


async def rotate_key(call: Call[Nothing, Grace]) -> Rotated:
    """Put a new key in the place of one, which stays valid for a while.

    The old key ends when the grace time does, or earlier if it would anyway.

    :raises Refusal: 400, 403, 404, 409 if the key is not alive, or 412.
    """
    grace_ms, now_ms = grace_of(call.body.grace), call.now_ms
    old = await find(call)

    def check(key: ApiKey) -> None:
        require_may_change(call.actor, key)
        if key.key_type == "session_key":
            raise bad("a session is not rotated; log in again")
        # The one who rotates a key gets to know the new one.
        require_may_mint(
            call.actor,
            key.org_id,
            key.key_type,
            key.scopes,
            role=key.role,
            user_id=key.user_id,
            team_id=key.team_id,
        )
        call.demand(key_view(key))

    # Before a secret is made; once more when nobody else can change the key.
    check(old)
    secret = generate(old.key_type, call.context.world.random_bytes)
    successor = NewSecret(
        call.new_id(), _digest(call, secret), hint(secret), old.expires_at_ms, call.actor.user_id
    )
    done = await call.change(key_changes.rotate_key, old.id, successor, now_ms + grace_ms, check, now_ms)
    if done is None:
        raise Refusal(
            409, "conflict", "the key is revoked, has expired, or was replaced by another one before"
        )
    return Rotated(
        new_key=made_key_view(done.new, secret),
        old_key=OldKey(
            id=done.old.id, key_hint=done.old.hint, expires_at=moment(done.old.expires_at_ms or now_ms)
        ),
    )


def _digest(call: Call[Any, Any], secret: str) -> str:
    return call.context.digester.digest(secret.encode("ascii")).hex()
