"""What somebody can do with keys that are there. Who may is in :mod:`voidllm.admin.key_rules`."""

from __future__ import annotations

from typing import Any, Callable

from attrs import evolve
from msgspec import UNSET, Struct

from voidllm.admin.access import missing, require_org
from voidllm.admin.declare import Call
from voidllm.admin.expanding import expanded
from voidllm.admin.fields import bad
from voidllm.admin.key_rules import Rule, require_allows_less, require_may_change, rule_over
from voidllm.admin.key_shapes import Key, KeyList, KeyPatch, OrgKeyList, OwnKeyList
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.limit_checks import require_settable
from voidllm.admin.limit_shapes import patched
from voidllm.admin.minting import checked_expiry, org_id_of
from voidllm.admin.model_names import require_models
from voidllm.admin.moments import span_ms, to_ms
from voidllm.admin.networks import networks_of
from voidllm.admin.paging import envelope, page_of
from voidllm.admin.views import key_view
from voidllm.auth.roles import ORG_ADMIN, RANKS, TEAM_ADMIN, rank
from voidllm.core.errors import Refusal
from voidllm.store import key_changes, keys
from voidllm.store.limits_above import Above
from voidllm.store.records import ApiKey, KeyChange, KeyFilter, Seer


async def list_keys(call: Call[KeyList, Nothing]) -> Page[Key]:
    """Give one page of the keys of the installation that the actor administers.

    :raises Refusal: 400 or 404.
    """
    if call.query.org_id is None and call.actor.everywhere:
        return await _listed(call, KeyFilter())
    org_id = await org_id_of(call, call.query.org_id)
    require_org(call.actor, org_id, ORG_ADMIN)
    return await _listed(call, KeyFilter(org_id))


async def list_org_keys(call: Call[OrgKeyList, Nothing]) -> Page[Key]:
    """Give one page of the keys of an organisation that the actor may see.

    :raises Refusal: 400.
    """
    return await _listed(call, KeyFilter(call.org.id, seen_by=seer(call, call.org.id)))


async def list_own_keys(call: Call[OwnKeyList, Nothing]) -> Page[Key]:
    """Give one page of the keys that speak for the actor.

    :raises Refusal: 400.
    """
    actor = call.actor
    own = Seer(actor.user_id, actor.service_account_id, None if actor.user_id else actor.key_id)
    return await _listed(call, KeyFilter(seen_by=own))


def seer(call: Call[Any, Any], org_id: str) -> Seer | None:
    """Say which keys of an organisation the actor sees; ``None`` for all."""
    actor = call.actor
    if rank(actor.role_in(org_id) or "") >= RANKS[ORG_ADMIN]:
        return None
    leads = tuple(team_id for team_id, role in actor.teams.items() if role == TEAM_ADMIN)
    return Seer(
        actor.user_id, actor.service_account_id, None if actor.user_id is not None else actor.key_id, leads
    )


async def _listed(call: Call[Any, Nothing], wanted: KeyFilter) -> Page[Key]:
    query = call.query
    page = page_of(query, query.sort)
    wanted = evolve(
        wanted,
        key_type=query.key_type,
        search=query.q,
        include_revoked=query.include_revoked,
        unused_since_ms=unused_since_ms(query.unused_since, call.now_ms),
    )
    if isinstance(query, OrgKeyList):
        wanted = evolve(
            wanted,
            team_id=query.team_id,
            user_id=query.user_id,
            service_account_id=query.service_account_id,
        )
    found = await call.read(keys.list_keys, wanted, page)
    shown = envelope(query, query.sort, found, key_view, lambda key: (keys.position(key, page.sort), key.id))
    return await expanded(call.context.store, shown, query.expand or ())


def unused_since_ms(text: str | None, now_ms: int) -> int | None:
    """Give the moment since when a key is to have been unused.

    :raises Refusal: 400.
    """
    if text is None:
        return None
    span = span_ms("unused_since", text)
    if span > now_ms:
        raise bad("unused_since is too long", param="unused_since")
    return now_ms - span


async def get_key(call: Call[Nothing, Nothing]) -> Key:
    """Show one key, revoked or not.

    :raises Refusal: 404 if there is none for the actor.
    """
    return key_view(await find(call))


async def find(call: Call[Any, Any]) -> ApiKey:
    """Read the key in the path.

    :raises Refusal: 404 if there is none, or none that the actor may see.
    """
    key = await call.read(keys.get_key, call.path["key_id"])
    if key is None or (call.org is not None and key.org_id != call.org.id):
        raise missing()
    rule_over(call.actor, key)
    return key


async def change_key(call: Call[Nothing, KeyPatch]) -> Key:
    """Change some of a key, and show it.

    :raises Refusal: 400, 403, 404, 409 if it is revoked, or 412.
    """
    patch = call.body
    if patch.models is not UNSET and patch.models is not None:
        await require_models(call, patch.models)
    networks = () if patch.allowed_addresses is UNSET else networks_of(patch.allowed_addresses)

    def wanted(old: KeyChange) -> KeyChange:
        changes: dict[str, Any] = {"limits": patched(old.limits, patch)}
        if patch.name is not UNSET:
            changes["name"] = patch.name
        if patch.models is not UNSET:
            changes["models"] = None if patch.models is None else frozenset(patch.models)
        if patch.allowed_addresses is not UNSET:
            changes["addresses"] = networks
        if patch.tags is not UNSET:
            changes["tags"] = patch.tags or {}
        if patch.expires_at is None:
            changes["expires_at_ms"] = None
        elif patch.expires_at is not UNSET:
            changes["expires_at_ms"] = checked_expiry(to_ms(patch.expires_at), call.now_ms)
        return evolve(old, **changes)

    return key_view(await changed_key(call, wanted))


async def changed_key(
    call: Call[Any, Any],
    wanted: Callable[[KeyChange], KeyChange],
    seen: Callable[[ApiKey], Struct] = key_view,
) -> ApiKey:
    """Change the key in the path, as far as the actor may.

    :param wanted: says what it shall be, by what it is.
    :param seen: gives what the actor has seen of it, for ``If-Match``.
    :raises Refusal: 403, 404, 409 if it is revoked, or 412.
    """
    key = await find(call)
    require_may_change(call.actor, key)

    def decide(key: ApiKey, above: Above) -> KeyChange:
        governs = require_may_change(call.actor, key) is Rule.GOVERNS
        call.demand(seen(key))
        old = KeyChange(key.name, key.limits, key.models, key.expires_at_ms, key.addresses, key.tags)
        new = wanted(old)
        if not governs:
            require_allows_less(old, new)
        require_settable(old.limits, new.limits, above, governs)
        return new

    made = await call.change(key_changes.change_key, key.id, decide, call.now_ms)
    if made is None:
        raise revoked()
    return made


async def revoke_key(call: Call[Nothing, Nothing]) -> Key:
    """Revoke a key for good, and show it.

    :raises Refusal: 403, 404, 412, or 409 if it was revoked before.
    """
    key = await find(call)
    require_may_change(call.actor, key)

    def check(key: ApiKey) -> None:
        require_may_change(call.actor, key)
        call.demand(key_view(key))

    gone = await call.change(key_changes.revoke_key, key.id, check, call.now_ms)
    if gone is None:
        raise revoked()
    return key_view(gone)


def revoked() -> Refusal:
    """Make the 409 of a key that is revoked."""
    return Refusal(409, "conflict", "the key is revoked")
