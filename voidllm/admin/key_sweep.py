"""Many keys revoked at once, all or none."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from voidllm.admin.access import missing
from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.admin.key_operations import seer, unused_since_ms
from voidllm.admin.key_rules import Rule, require_may_change, rule_over
from voidllm.admin.key_shapes import Sweep, Swept
from voidllm.admin.kinds import Nothing
from voidllm.admin.views import key_view
from voidllm.store import directory, key_changes
from voidllm.store.records import ApiKey, KeyFilter


async def revoke_keys(call: Call[Nothing, Sweep]) -> Swept:
    """Revoke the keys that are named, or that fit, and show them.

    Of those that fit, the ones that the caller may not revoke are left alone; of those that are named, one
    such is enough for none to be revoked. Keys that are revoked already are passed over.

    :raises Refusal: 400 if nothing says which keys, 403, or 404 for an id that is none of the caller's.
    """
    ask, actor = call.body, call.actor
    wanted = await _wanted(call)
    named = wanted.ids is not None

    def check(key: ApiKey) -> bool:
        if named:
            require_may_change(actor, key)
            return True
        return rule_over(actor, key) >= Rule.OWNS

    if named:
        await _require_all(call, wanted)
    if ask.dry_run:
        found = await call.read(key_changes.find_keys, wanted, check)
    else:
        gone = await call.change(key_changes.revoke_keys, wanted, check, call.now_ms)
        found = key_changes.Sweep((), False) if gone is None else gone
    return Swept(
        dry_run=ask.dry_run,
        data=[key_view(key) for key in found.keys],
        has_more=found.more and not named and bool(found.keys),
    )


async def _wanted(call: Call[Any, Sweep]) -> KeyFilter:
    ask = call.body
    given = (ask.team_id, ask.user_id, ask.unused_since, ask.name_prefix)
    if (ask.ids is None) == (given == (None,) * len(given)):
        raise bad("give either ids, or what the keys must fit", param="ids")
    org_id = call.org.id
    wanted = KeyFilter(org_id, seen_by=seer(call, org_id))
    if ask.ids is not None:
        return evolve(wanted, ids=tuple(dict.fromkeys(ask.ids)))
    team_id = user_id = None
    if ask.team_id is not None:
        team = await call.read(directory.find_team, org_id, ask.team_id)
        if team is None or call.actor.role_in_team(org_id, team.id) is None:
            raise missing("team_id")
        team_id = team.id
    if ask.user_id is not None:
        # Somebody who has left may still have keys, so an id is taken as it is.
        person = await call.read(directory.find_member, org_id, ask.user_id)
        user_id = ask.user_id if person is None else person.id
    return evolve(
        wanted,
        team_id=team_id,
        user_id=user_id,
        name_prefix=ask.name_prefix,
        unused_since_ms=unused_since_ms(ask.unused_since, call.now_ms),
    )


async def _require_all(call: Call[Any, Sweep], wanted: KeyFilter) -> None:
    """Refuse ids of which one is no key that the actor sees, revoked or not."""
    found = await call.read(
        key_changes.find_keys,
        evolve(wanted, include_revoked=True),
        lambda key: rule_over(call.actor, key) >= 0,
    )
    known = {key.id for key in found.keys}
    for number, key_id in enumerate(call.body.ids or ()):
        if key_id not in known:
            raise missing(f"ids[{number}]")
