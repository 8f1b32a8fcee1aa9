"""Who a new key will speak for, whether the caller may have it made, and until when it lives."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from voidllm.admin.access import Actor, missing, require_org
from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.admin.key_rules import require_may_mint
from voidllm.admin.key_shapes import NewKey, NewKeyAnywhere
from voidllm.admin.moments import LAST_MS, span_ms, to_ms
from voidllm.auth.roles import MEMBER, ORG_ADMIN
from voidllm.core.errors import Refusal
from voidllm.store import directory
from voidllm.store.service_accounts import AccountRow
from voidllm.store.standing import role_in_org

#: The longest that a rotated key stays valid beside its successor.
MOST_GRACE_MS = 30 * 24 * 3_600_000


@frozen
class Owner:
    """Who a key speaks for.

    :ivar in_team: the user must belong to the team.
    :ivar new_account: a service account that is to be made first.
    """

    org_id: str
    team_id: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    in_team: bool = False
    new_account: AccountRow | None = None


def expiry_of(ask: NewKey, now_ms: int) -> int | None:
    """Give the moment that a new key shall end at, if any.

    :raises Refusal: 400.
    """
    if ask.expires_in is None:
        return None if ask.expires_at is None else checked_expiry(to_ms(ask.expires_at), now_ms)
    if ask.expires_at is not None:
        raise bad("give expires_at or expires_in, not both", param="expires_in")
    return checked_expiry(now_ms + span_ms("expires_in", ask.expires_in), now_ms, "expires_in")


def checked_expiry(expires_ms: int, now_ms: int, field: str = "expires_at") -> int:
    """Give back a moment that a key may end at.

    :raises Refusal: 400.
    """
    if expires_ms > LAST_MS:
        raise bad("the key would outlive the year 9999", param=field)
    if expires_ms <= now_ms:
        raise bad("the key would have expired already", param=field)
    return expires_ms


def grace_of(text: str) -> int:
    """Give how long a rotated key stays valid, in milliseconds.

    :raises Refusal: 400.
    """
    grace_ms = span_ms("grace", text)
    if grace_ms > MOST_GRACE_MS:
        raise bad("grace may be 30d at most", param="grace")
    return grace_ms


async def org_id_of(call: Call[Any, Any], ref: str | None) -> str:
    """Give the organisation that a request is about: that in the path, that it names, or the caller's own.

    :raises Refusal: 404 for none, or one that the caller does not belong to.
    """
    if call.org is not None:
        org_id: str = call.org.id
        return org_id
    org = await call.read(directory.find_org, ref if ref is not None else call.actor.org_id)
    if org is None:
        raise _missing("org")
    require_org(call.actor, org.id)
    return org.id


async def find_owner(call: Call[Any, NewKey], scopes: frozenset[str]) -> Owner:
    """Find out who a key is to speak for, and refuse whoever may not have such a key made.

    :raises Refusal: 400 for owners that do not go together, 403, 404 if there is no such
        organisation, team or user, or none for the actor.
    """
    ask = call.body
    for field, given, wanted in (
        ("user_id", ask.user_id, "user_key"),
        ("service_account_id", ask.service_account_id, "sa_key"),
    ):
        if given is not None and ask.key_type != wanted:
            raise bad(f"{field} goes with key_type {wanted} only", param=field)
    org_id = await org_id_of(call, ask.org_id if isinstance(ask, NewKeyAnywhere) else None)
    team_id = None
    if ask.team_id is not None:
        team = await call.read(directory.find_team, org_id, ask.team_id)
        # Somebody who does not belong to a team is not told whether there is one.
        if team is None or call.actor.role_in_team(org_id, team.id) is None:
            raise _missing("team")
        team_id = team.id
    if ask.key_type == "team_key":
        if team_id is None:
            raise bad("a team_key needs a team", param="team_id")
        require_may_mint(call.actor, org_id, "team_key", scopes, team_id=team_id)
        return Owner(org_id, team_id)
    if ask.key_type == "user_key":
        return await _person(call, org_id, team_id, scopes)
    return await _service_account(call, org_id, team_id, scopes)


async def _person(call: Call[Any, NewKey], org_id: str, team_id: str | None, scopes: frozenset[str]) -> Owner:
    actor, ref = call.actor, call.body.user_id
    if ref is None and actor.user_id is None and not actor.everywhere:
        raise bad("only a person has a user_key; say whose it shall be", param="user_id")
    if ref is not None and ref != actor.user_id:
        # Before anybody is looked up by somebody who may not.
        require_org(actor, org_id, ORG_ADMIN)
    member = await call.read(directory.find_member, org_id, ref or actor.user_id)
    if member is None:
        raise _missing("user")
    role = role_in_org(member.role)
    require_may_mint(actor, org_id, "user_key", scopes, role=role, user_id=member.id)
    # Administrators lead every team without belonging to it.
    return Owner(org_id, team_id, member.id, in_team=team_id is not None and role == MEMBER)


async def _service_account(
    call: Call[Any, NewKey], org_id: str, team_id: str | None, scopes: frozenset[str]
) -> Owner:
    ask, actor = call.body, call.actor
    # Whose accounts are to be looked through is known before any is looked up.
    if team_id is not None or _leads_nothing(actor, org_id):
        require_may_mint(actor, org_id, "sa_key", scopes, team_id=team_id)
    found = await call.read(directory.find_service_account, org_id, ask.service_account_id or ask.name)
    if found is None:
        require_may_mint(actor, org_id, "sa_key", scopes, team_id=team_id)
        new = AccountRow(
            call.new_id(), org_id, ask.service_account_id or ask.name, call.now_ms, team_id, actor.user_id
        )
        return Owner(org_id, team_id, service_account_id=new.id, new_account=new)
    if team_id is not None and found.team_id != team_id:
        raise bad("the service account belongs to no team or to another one", param="team_id")
    require_may_mint(actor, org_id, "sa_key", scopes, team_id=found.team_id)
    return Owner(org_id, found.team_id, service_account_id=found.id)


def _leads_nothing(actor: Actor, org_id: str) -> bool:
    return actor.role_in(org_id) == MEMBER and "team_admin" not in actor.teams.values()


def _missing(field: str) -> Refusal:
    refusal = missing(f"{field}_id")
    refusal.message = f"there is no such {field}, or it is not yours"
    return refusal
