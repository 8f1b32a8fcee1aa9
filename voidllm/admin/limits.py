"""Limits with those above them, and what of them is used up; and those of the whole installation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from attrs import astuple
from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin import key_operations
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Id, Nothing
from voidllm.admin.limit_shapes import Limited, LimitsPatch, NewLimits, asked, patched, shown
from voidllm.auth.roles import MEMBER, ORG_ADMIN, RANKS, SYSTEM_ADMIN, TEAM_ADMIN, rank
from voidllm.core.principal import Limits
from voidllm.store import limits_above, limits_changes, tenants

#: Kind and id of a scope, and its own limits.
Numbers = tuple[str, str, Limits]
ScopeKind = Literal["key", "team", "org", "system"]
_FIELDS = (
    "requests_this_minute",
    "tokens_this_minute",
    "requests_today",
    "tokens_today",
    "tokens_this_month",
)
_OF = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day", "tokens_per_month")


class Used(Struct, kw_only=True, frozen=True):
    """What is used up now; null where nothing is limited. Days and months are those of UTC."""

    requests_this_minute: int | None
    tokens_this_minute: int | None
    requests_today: int | None
    tokens_today: int | None
    tokens_this_month: int | None


class InstallationLimits(Limited, kw_only=True, frozen=True):
    """Limits of the whole installation."""


class ScopeLimits(Struct, kw_only=True, frozen=True):
    """Limits of one scope."""

    scope: ScopeKind
    id: Annotated[Id | None, Meta(description="null for the installation")]
    limits: InstallationLimits
    used: Annotated[
        Used | UnsetType | None, Meta(description="null where nobody counts; absent for who may not see it")
    ] = UNSET


class EffectiveLimits(ScopeLimits, kw_only=True, frozen=True):
    """Limits of one scope, with those above it."""

    above: Annotated[list[ScopeLimits], Meta(description="the nearest first")]
    effective: Annotated[InstallationLimits, Meta(description="the least of each number, own and above")]


class NewInstallationLimits(NewLimits):
    """All limits of the installation, as they are to be."""


class InstallationLimitsPatch(LimitsPatch):
    """What is to change; null takes a limit away."""


async def get_installation_limits(call: Call[Nothing, Nothing]) -> InstallationLimits:
    """Show the limits of the installation."""
    return _view(await call.read(tenants.system_limits))


async def put_installation_limits(call: Call[Nothing, NewInstallationLimits]) -> InstallationLimits:
    """Set all limits of the installation.

    :raises Refusal: 412.
    """

    def decide(old: Limits) -> Limits:
        call.demand(_view(old))
        return asked(call.body)

    return await _changed(call, decide)


async def change_installation_limits(call: Call[Nothing, InstallationLimitsPatch]) -> InstallationLimits:
    """Change some limits of the installation.

    :raises Refusal: 412.
    """

    def decide(old: Limits) -> Limits:
        call.demand(_view(old))
        return patched(old, call.body)

    return await _changed(call, decide)


async def _changed(call: Call[Any, Any], decide: Any) -> InstallationLimits:
    made = await call.change(limits_changes.change_system_limits, decide)
    assert made is not None
    return _view(made)


async def get_org_limits(call: Call[Nothing, Nothing]) -> EffectiveLimits:
    """Show the limits of an organisation."""
    return await _effective(call, ("org", call.org.id, call.org.limits))


async def get_team_limits(call: Call[Nothing, Nothing]) -> EffectiveLimits:
    """Show the limits of a team."""
    return await _effective(call, ("team", call.team.id, call.team.limits), call.org.id)


async def get_key_limits(call: Call[Nothing, Nothing]) -> EffectiveLimits:
    """Show the limits of a key.

    :raises Refusal: 404.
    """
    key = await key_operations.find(call)
    return await _effective(call, ("key", key.id, key.limits), key.org_id, key.team_id)


async def _effective(
    call: Call[Any, Any], own: Numbers, org_id: str | None = None, team_id: str | None = None
) -> EffectiveLimits:
    """Show limits with those above.

    :param org_id: the organisation above, if it is not about one.
    :param team_id: the team above, if there is one.
    """
    found = await call.read(limits_above.limits_above, org_id, team_id)
    above = [place for place in (("team", team_id), ("org", org_id), ("system", "")) if place[1] is not None]
    scopes = [own]
    for (kind, id_), (_, limits) in zip(above, found, strict=True):
        scopes.append((kind, id_ or "", limits))
    first, *rest = [_scope(call, org_id or own[1], *scope) for scope in scopes]
    least = zip(*(astuple(scope[2]) for scope in scopes), strict=True)
    effective = Limits(*(min((one for one in several if one), default=0) for several in least))
    return EffectiveLimits(
        scope=first.scope,
        id=first.id,
        limits=first.limits,
        used=first.used,
        above=rest,
        effective=_view(effective),
    )


def _scope(call: Call[Any, Any], org_id: str, kind: Any, id_: str, limits: Limits) -> ScopeLimits:
    return ScopeLimits(
        scope=kind, id=id_ or None, limits=_view(limits), used=_used(call, org_id, kind, id_, limits)
    )


def _used(call: Call[Any, Any], org_id: str, kind: str, id_: str, limits: Limits) -> Used | UnsetType | None:
    actor = call.actor
    # What colleagues use up together is for those who lead them; the installation as such is not counted.
    seen = {
        "key": True,
        "team": kind == "team" and rank(actor.role_in_team(org_id, id_) or "") >= RANKS[TEAM_ADMIN],
        "org": kind == "org" and rank(actor.role_in(org_id) or "") >= RANKS[ORG_ADMIN],
        "system": False,
    }[kind]
    if not seen:
        return UNSET
    if call.context.used is None:
        return None
    counted = (
        dict.fromkeys(_FIELDS, 0)
        if limits.unlimited
        else dict(zip(_FIELDS, call.context.used(kind, id_, limits), strict=True))
    )
    return Used(
        **{
            field: counted[field] if getattr(limits, of) else None
            for field, of in zip(_FIELDS, _OF, strict=True)
        }
    )


def _view(limits: Limits) -> InstallationLimits:
    return InstallationLimits(**shown(limits))


_WHAT = (
    "Each scope enforces its own limits on every request, so what is left is the least of them; a limit of a "
    "scope above that is lowered binds at once, whatever those below it have."
)
_PATH = "/api/v1/limits"


def _shows(path: str, name: str, tenant: str, role: str, handle: Any) -> Route:
    return Route(
        "GET",
        f"{path}/limits",
        f"get_{name}_limits",
        f"Show the limits of {'an' if name == 'org' else 'a'} {name}, and what is used up",
        handle,
        EffectiveLimits,
        role,
        READ,
        tenant=tenant,
        tag="limits",
        description=_WHAT,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        _PATH,
        "get_installation_limits",
        "Show the limits of the installation",
        get_installation_limits,
        InstallationLimits,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        tagged=True,
    ),
    Route(
        "PUT",
        _PATH,
        "put_installation_limits",
        "Set the limits of the installation",
        put_installation_limits,
        InstallationLimits,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=NewInstallationLimits,
        tagged=True,
        guarded=True,
        example={"requests_per_minute": 6000},
        description="No organisation can be given greater ones. What is absent is 0, which is no limit.",
    ),
    Route(
        "PATCH",
        _PATH,
        "change_installation_limits",
        "Change the limits of the installation",
        change_installation_limits,
        InstallationLimits,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=InstallationLimitsPatch,
        tagged=True,
        guarded=True,
        example={"monthly_token_limit": None},
        description="A JSON merge patch (RFC 7396).",
    ),
    _shows("/api/v1/orgs/{org_id}", "org", "org", ORG_ADMIN, get_org_limits),
    _shows("/api/v1/orgs/{org_id}/teams/{team_id}", "team", "team", MEMBER, get_team_limits),
    _shows("/api/v1/orgs/{org_id}/keys/{key_id}", "key", "org", MEMBER, get_key_limits),
)
