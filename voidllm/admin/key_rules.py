"""Who may see a key, use up what it allows, raise it, or be given a new one; pure.

* Everybody sees and manages their own keys: may rename, rotate and revoke them, and make them allow less.
* Who leads a team does so with the keys of the team's members, and governs keys that are the team's or its
  service accounts'.
* Administrators govern every key of their organisation whose bearer is not above them.
* To govern is also to let a key do more, within what the scopes above it leave.
* A service account never governs its own keys, whatever its role.
* A key makes none for its own bearer that allows more than it does itself.
"""

from __future__ import annotations

from enum import IntEnum

from voidllm.admin.access import Actor, missing, require_org, require_team
from voidllm.auth.roles import MEMBER, ORG_ADMIN, RANKS, TEAM_ADMIN, rank
from voidllm.core.errors import Refusal
from voidllm.core.networks import narrower
from voidllm.store.records import ApiKey, KeyChange

_INFERENCE = frozenset({"inference"})


class Rule(IntEnum):
    """What somebody may do with a key; each includes those before it."""

    SEES = 0
    OWNS = 1
    GOVERNS = 2


def is_own(actor: Actor, key: ApiKey) -> bool:
    """Say whether a key speaks for whoever asks."""
    if key.user_id is not None:
        return key.user_id == actor.user_id
    if key.service_account_id is not None:
        return key.service_account_id == actor.service_account_id
    return key.id == actor.key_id


def rule_over(actor: Actor, key: ApiKey) -> Rule:
    """Say what somebody may do with a key.

    :raises Refusal: 404 for who may not even know of it.
    """
    there = actor.role_in(key.org_id)
    if there is None:
        raise missing()
    own = is_own(actor, key)
    if rank(there) >= RANKS[ORG_ADMIN]:
        if own and actor.user_id is None:
            return Rule.OWNS
        return Rule.GOVERNS if rank(key.role) <= rank(there) else Rule.SEES
    if own:
        return Rule.OWNS
    if key.team_id is None or actor.teams.get(key.team_id) != TEAM_ADMIN:
        raise missing()
    if key.user_id is None:
        return Rule.GOVERNS
    return Rule.OWNS if rank(key.role) <= RANKS[TEAM_ADMIN] else Rule.SEES


def require_may_change(actor: Actor, key: ApiKey) -> Rule:
    """Refuse whoever may only look at a key.

    :raises Refusal: 403, or 404 for who may not even know of it.
    """
    rule = rule_over(actor, key)
    if rule is Rule.SEES:
        raise Refusal(403, "forbidden", "nobody may act on somebody of a higher role")
    return rule


def require_may_mint(
    actor: Actor,
    org_id: str,
    key_type: str,
    scopes: frozenset[str],
    *,
    role: str = MEMBER,
    user_id: str | None = None,
    team_id: str | None = None,
) -> None:
    """Refuse to make a key that the actor may not have made, or be shown.

    A key for somebody else is for inference only: what its bearer becomes later would be whoever made it.

    :param role: that of the key's bearer.
    :param user_id: whom a ``user_key`` speaks for.
    :param team_id: the team of a ``team_key``, or of the service account of an ``sa_key``.
    :raises Refusal: 403, or 404 outside of the organisation or the team.
    """
    require_org(actor, org_id)
    if not scopes <= actor.scopes:
        raise Refusal(403, "forbidden", "nobody may give a key scopes that they do not have", param="scopes")
    if key_type == "user_key":
        if actor.everywhere or (user_id is not None and user_id == actor.user_id):
            return
        require_org(actor, org_id, ORG_ADMIN)
        if role != MEMBER:
            raise Refusal(403, "forbidden", "keys for administrators are made by themselves")
    elif team_id is not None:
        require_team(actor, org_id, team_id, TEAM_ADMIN)
    else:
        require_org(actor, org_id, ORG_ADMIN)
    if key_type != "sa_key" and not scopes <= _INFERENCE:
        raise Refusal(
            403,
            "forbidden",
            "only people themselves and service accounts may have keys for administration",
            param="scopes",
        )


def require_allows_less(old: KeyChange, new: KeyChange) -> None:
    """Refuse what would let a key do more than before; limits have a rule of their own.

    :raises Refusal: 403, naming the field.
    """
    if old.expires_at_ms is not None and (new.expires_at_ms is None or new.expires_at_ms > old.expires_at_ms):
        raise _more("expires_at", "let the key live longer")
    if old.models is not None and (new.models is None or not new.models <= old.models):
        raise _more("models", "allow the key more models")
    if old.addresses and not (new.addresses and narrower(new.addresses, old.addresses)):
        raise _more("allowed_addresses", "allow the key more addresses")


def _more(field: str, what: str) -> Refusal:
    return Refusal(403, "forbidden", f"only somebody above may {what}", param=field)
