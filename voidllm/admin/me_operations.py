"""What callers can see and change of themselves."""

from __future__ import annotations

from typing import Any, cast

from msgspec import UNSET

from voidllm.admin.access import SCOPES, Actor, missing, require_org
from voidllm.admin.declare import Call
from voidllm.admin.kinds import Named as ShownName
from voidllm.admin.kinds import Nothing
from voidllm.admin.me_shapes import (
    AvailableModel,
    AvailableModels,
    Me,
    MePatch,
    ModelsQuery,
    MyKey,
    MyOrg,
    MyTeam,
)
from voidllm.admin.moments import moment
from voidllm.core.errors import Refusal
from voidllm.store import access_rows, directory, profile
from voidllm.store.profile import Profile
from voidllm.store.records import Named
from voidllm.store.statements import Op


async def show_me(call: Call[Any, Any]) -> Me:
    """Say who calls."""
    actor = call.actor
    found = await call.read(
        profile.load_profile,
        actor.user_id,
        actor.key_id,
        actor.team_id,
        actor.service_account_id,
        tuple(actor.orgs),
        tuple(actor.teams),
    )
    return _view(actor, found)


async def change_me(call: Call[Nothing, MePatch]) -> Me:
    """Change the caller's own name.

    :raises Refusal: 409 for a caller that is no person, 412.
    """
    user_id = require_person(call.actor)
    call.demand(await show_me(call))
    if await call.change(profile.rename, user_id, call.body.display_name, call.now_ms) is None:
        raise removed()
    return await show_me(call)


def removed() -> Refusal:
    """Make the 409 of a caller who was removed since the request began."""
    return Refusal(409, "conflict", "the caller was removed meanwhile")


def require_person(actor: Actor) -> str:
    """Give the id of the person who calls.

    :raises Refusal: 409 for a program.
    """
    if actor.user_id is None:
        raise Refusal(409, "conflict", "this is for people: the caller is a program")
    return actor.user_id


async def available_models(call: Call[ModelsQuery, Nothing]) -> AvailableModels:
    """Give the models that the caller's requests may name, as access lists and not aliases have it.

    A key may use what its organisation, its team and itself allow; a person without a key what the
    organisation allows.

    :raises Refusal: 404 for an organisation that is not the caller's.
    """
    actor, snapshot = call.actor, call.context.snapshots.current
    org_id = actor.org_id
    if call.query.org is not None or org_id is None:
        org = await call.read(directory.find_org, call.query.org)
        if org is None:
            raise missing("org")
        org_id = org.id
    require_org(actor, org_id)
    lists = await call.read(_lists, org_id, actor.team_id, actor.key_id)
    models = [
        AvailableModel(name=model.name, type=cast(Any, model.type))
        for name, model in sorted(snapshot.models.items())
        if all(allowed is None or name in allowed for allowed in lists)
    ]
    return AvailableModels(models=models)


def _lists(org_id: str, team_id: str | None, key_id: str | None) -> Op[list[frozenset[str] | None]]:
    found = []
    for kind, id_ in (("org", org_id), ("team", team_id), ("key", key_id)):
        if id_ is not None:
            found.append((yield from access_rows.get_access(kind, id_)))
    return found


def _view(actor: Actor, found: Profile) -> Me:
    orgs = [
        MyOrg(id=org.id, name=org.name, slug=org.slug or "", role=cast(Any, actor.orgs[org_id]))
        for org_id in actor.orgs
        if (org := found.orgs.get(org_id)) is not None
    ]
    teams = [
        MyTeam(
            id=team.id,
            name=team.name,
            slug=team.slug or "",
            role=cast(Any, actor.teams[team_id]),
            org_id=found.team_orgs[team_id],
        )
        for team_id in actor.teams
        if (team := found.teams.get(team_id)) is not None
    ]
    account = found.account
    person: dict[str, Any] = {}
    if account is not None:
        person = {
            "id": account.id,
            "email": account.email,
            "display_name": account.name,
            "auth_provider": account.auth_provider,
            "has_password": account.password_hash is not None,
            "totp": found.totp,
            "recovery_codes_left": found.codes,
            "created_at": moment(found.created_at_ms),
        }
    return Me(
        kind=cast(Any, actor.kind),
        role=cast(Any, actor.role),
        org_id=actor.org_id,
        is_system_admin=account is not None and account.is_system_admin,
        must_change_password=actor.must_change_password,
        orgs=orgs,
        teams=teams,
        key=UNSET if actor.key_id is None else _key(actor, found),
        session_id=UNSET if actor.session_id is None else actor.session_id,
        **person,
    )


def _key(actor: Actor, found: Profile) -> MyKey:
    org_id = actor.org_id or ""
    # A service account of none but an organisation, or a team's key: whoever it speaks for has a name.
    named = found.owner or found.orgs.get(org_id) or Named(org_id, "")
    return MyKey(
        id=actor.key_id or "",
        name=found.key_name,
        key_type=cast(Any, actor.key_type),
        scopes=cast(Any, sorted(actor.scopes & SCOPES)),
        org_id=org_id,
        owner=ShownName(
            id=named.id,
            name=named.name,
            slug=UNSET if named.slug is None else named.slug,
            email=UNSET if named.email is None else named.email,
        ),
    )
