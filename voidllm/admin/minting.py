"""What a new key is asked to be, and who it will speak for."""

from __future__ import annotations

from typing import Any, Mapping

from attrs import frozen

from voidllm.admin.access import SCOPES, Actor, require_own_org
from voidllm.admin.context import AdminContext
from voidllm.admin.fields import bad, known_only, number, text, texts
from voidllm.admin.moments import LAST_MS, parse_moment_ms
from voidllm.auth.roles import role_of_key
from voidllm.config.durations import parse_duration
from voidllm.core.errors import Refusal
from voidllm.core.ids import uuid7
from voidllm.core.principal import Limits
from voidllm.store.records import DEFAULT_SCOPES, ServiceAccount

KEY_TYPES = ("user_key", "team_key", "sa_key")
LIMITS = (
    "requests_per_minute",
    "requests_per_day",
    "tokens_per_minute",
    "tokens_per_day",
    "tokens_per_month",
)

_KNOWN = frozenset(
    {"name", "key_type", "org", "team", "user", "service_account", "scopes", "models", "expires_at"}
    | {"expires_in", *LIMITS}
)
_MOST_MODELS = 500


@frozen
class KeyAsk:
    """A new key as it was asked for; owners by id, slug, address or name.

    :ivar models: see :class:`voidllm.store.records.NewKey`.
    """

    name: str
    key_type: str
    org: str | None
    team: str | None
    user: str | None
    service_account: str | None
    scopes: frozenset[str]
    models: frozenset[str] | None
    limits: Limits
    expires_at_ms: int | None


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


def read_ask(value: Mapping[str, Any], now_ms: int) -> KeyAsk:
    """Read the body of a request for a new key.

    :raises Refusal: 400, naming the field.
    """
    known_only(value, _KNOWN)
    name = text(value, "name")
    if name is None:
        raise bad("name is required", param="name")
    key_type = text(value, "key_type", "user_key")
    if key_type not in KEY_TYPES:
        raise bad(f"key_type must be one of {', '.join(KEY_TYPES)}", param="key_type")
    for field, wanted in (("user", "user_key"), ("service_account", "sa_key")):
        if value.get(field) is not None and key_type != wanted:
            raise bad(f"{field} goes with key_type {wanted} only", param=field)
    scopes = texts(value, "scopes", len(SCOPES))
    if scopes is not None and (not scopes or not scopes <= SCOPES):
        raise bad(f"scopes must be some of {', '.join(sorted(SCOPES))}", param="scopes")
    return KeyAsk(
        name,
        key_type,
        text(value, "org"),
        text(value, "team"),
        text(value, "user"),
        text(value, "service_account"),
        DEFAULT_SCOPES if scopes is None else scopes,
        texts(value, "models", _MOST_MODELS),
        Limits(**{limit: number(value, limit) for limit in LIMITS}),
        _expiry(value, now_ms),
    )


def _expiry(value: Mapping[str, Any], now_ms: int) -> int | None:
    moment, duration = text(value, "expires_at"), text(value, "expires_in")
    if moment is not None and duration is not None:
        raise bad("give expires_at or expires_in, not both", param="expires_in")
    try:
        if duration is not None:
            expires = now_ms + parse_duration(duration)
        elif moment is not None:
            expires = parse_moment_ms(moment, now_ms)
        else:
            return None
    except (ValueError, OverflowError):
        if duration is None:
            raise bad(
                "expires_at must be a moment such as 2026-12-31T12:00:00Z", param="expires_at"
            ) from None
        raise bad("expires_in must be a duration such as 90d or 12h", param="expires_in") from None
    if expires > LAST_MS:
        raise bad("the key would outlive the year 9999", param="expires_in" if duration else "expires_at")
    if expires <= now_ms:
        raise bad("the key would have expired already", param="expires_in" if duration else "expires_at")
    return expires


async def find_owner(context: AdminContext, actor: Actor, ask: KeyAsk, now_ms: int) -> Owner:
    """Find out who the key is to speak for.

    :raises Refusal: 404 if there is no such organisation, team or user, or none for the actor.
    """
    store = context.store
    org = await store.find_org(ask.org if ask.org is not None else actor.org_id)
    if org is None:
        raise _missing("org")
    require_own_org(actor, org.id)
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
    context: AdminContext, ask: KeyAsk, org_id: str, team_id: str | None, now_ms: int
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
