"""Who a new key will speak for, and until when."""

from __future__ import annotations

from attrs import frozen

from voidllm.admin.access import Actor, require_org
from voidllm.admin.context import AdminContext
from voidllm.admin.fields import bad
from voidllm.admin.key_shapes import NewKey
from voidllm.admin.moments import LAST_MS, span_ms, to_ms
from voidllm.auth.roles import role_of_key
from voidllm.core.errors import Refusal
from voidllm.core.ids import uuid7
from voidllm.store.records import ServiceAccount


@frozen
class Owner:
    """Who a key speaks for.

    :ivar role: what the key's bearer will be.
    :ivar new_account: a service account that is to be made first.
    """

    org_id: str
    role: str
    team_id: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    new_account: ServiceAccount | None = None


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


async def find_owner(context: AdminContext, actor: Actor, ask: NewKey, now_ms: int) -> Owner:
    """Find out who the key is to speak for.

    :raises Refusal: 400 for owners that do not go together, 404 if there is no such
        organisation, team or user, or none for the actor.
    """
    for field, given, wanted in (
        ("user", ask.user, "user_key"),
        ("service_account", ask.service_account, "sa_key"),
    ):
        if given is not None and ask.key_type != wanted:
            raise bad(f"{field} goes with key_type {wanted} only", param=field)
    store = context.store
    org = await store.find_org(ask.org if ask.org is not None else actor.org_id)
    if org is None:
        raise _missing("org")
    require_org(actor, org.id)
    team_id = None
    if ask.team is not None:
        team = await store.find_team(org.id, ask.team)
        if team is None:
            raise _missing("team")
        team_id = team.id
    if ask.key_type == "team_key":
        if team_id is None:
            raise bad("a team_key needs a team", param="team")
        return Owner(org.id, role_of_key("team_key", team_id), team_id=team_id)
    if ask.key_type == "user_key":
        member = await store.find_member(org.id, ask.user or actor.user_id)
        if member is None:
            raise _missing("user")
        return Owner(org.id, member.role, team_id=team_id, user_id=member.id)
    return await _service_account(context, ask, org.id, team_id, now_ms)


async def _service_account(
    context: AdminContext, ask: NewKey, org_id: str, team_id: str | None, now_ms: int
) -> Owner:
    name = ask.service_account or ask.name
    account = await context.store.find_service_account(org_id, name)
    new = None
    if account is None:
        account_id = uuid7(now_ms, context.world.random_bytes)
        account = new = ServiceAccount(account_id, org_id, name, now_ms, team_id)
    elif team_id is not None and account.team_id != team_id:
        raise bad("the service account belongs to no team or to another one", param="team")
    return Owner(
        org_id,
        role_of_key("sa_key", account.team_id),
        team_id=account.team_id,
        service_account_id=account.id,
        new_account=new,
    )


def _missing(field: str) -> Refusal:
    return Refusal(404, "not_found", f"there is no such {field}", param=field)
