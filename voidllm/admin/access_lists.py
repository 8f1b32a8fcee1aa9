"""Which models an organisation, a team or a key may use."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from msgspec import Struct

from voidllm.admin import key_operations
from voidllm.admin.access import READ, WRITE, missing
from voidllm.admin.declare import Call, Route
from voidllm.admin.fields import bad
from voidllm.admin.key_shapes import Models
from voidllm.admin.kinds import Asked, Nothing
from voidllm.admin.model_names import require_models
from voidllm.auth.roles import MEMBER, ORG_ADMIN, TEAM_ADMIN
from voidllm.store import access_changes
from voidllm.store.access_changes import Allowed, Lists, Where
from voidllm.store.records import KeyChange


class ModelAccess(Struct, kw_only=True, frozen=True):
    """Models by their names, in order."""

    models: list[str] | None


class NewModelAccess(Asked):
    """The models that are to be all that is allowed."""

    models: Models | None


def where_of(call: Call[Any, Any]) -> Where:
    """Give the organisation or the team that a request is about."""
    return Where(call.org.id, None if call.team is None else call.team.id)


async def get_access(call: Call[Nothing, Nothing]) -> ModelAccess:
    """Show what an organisation or a team is restricted to."""
    return _view((await call.read(access_changes.lists_of, where_of(call))).own)


async def put_access(call: Call[Nothing, NewModelAccess]) -> ModelAccess:
    """Restrict an organisation or a team to some models, and show it.

    :raises Refusal: 400 for what is no model, or one that the organisation may not use; 404, 412.
    """
    given = call.body.models
    await require_models(call, given or ())

    def decide(lists: Lists) -> Allowed:
        call.demand(_view(lists.own))
        if lists.above is not None:
            for number, name in enumerate(given or ()):
                if name not in lists.above:
                    raise bad("the organisation may not use this model", param=f"models[{number}]")
        return None if given is None else frozenset(given)

    done = await call.change(access_changes.change_list, where_of(call), decide)
    if done is None:
        raise missing()
    return _view(done.own)


async def get_key_access(call: Call[Nothing, Nothing]) -> ModelAccess:
    """Show what a key is restricted to.

    :raises Refusal: 404.
    """
    return _view((await key_operations.find(call)).models)


async def put_key_access(call: Call[Nothing, NewModelAccess]) -> ModelAccess:
    """Restrict a key to some models, and show it.

    :raises Refusal: 400, 403 for more models than before for who does not govern the key, 404, 409, 412.
    """
    given = call.body.models
    await require_models(call, given or ())

    def wanted(old: KeyChange) -> KeyChange:
        return evolve(old, models=None if given is None else frozenset(given))

    made = await key_operations.changed_key(call, wanted, lambda key: _view(key.models))
    return _view(made.models)


def _view(allowed: Allowed) -> ModelAccess:
    return ModelAccess(models=None if allowed is None else sorted(allowed))


_ALL = (
    "`null` allows every model, an empty list none. A model must be in the lists of the key, of its team and "
    "of its organisation, as far as they have one; one that is made shorter binds what is below it at once."
)


def _routes(
    path: str, name: str, role: str, tenant: str, get: Any, put: Any, **more: Any
) -> tuple[Route, ...]:
    path += "/model-access"
    about: dict[str, Any] = {"tenant": tenant, "tag": "model-access", "tagged": True}
    return (
        Route(
            "GET",
            path,
            f"get_{name}_model_access",
            f"Show which models the {name} may use",
            get,
            ModelAccess,
            role,
            READ,
            description=_ALL,
            **about,
        ),
        Route(
            "PUT",
            path,
            f"put_{name}_model_access",
            f"Set which models the {name} may use",
            put,
            ModelAccess,
            role,
            WRITE,
            body=NewModelAccess,
            guarded=True,
            example={"models": ["gpt-4o-mini"]},
            **{"description": _ALL, **more},
            **about,
        ),
    )


ROUTES: tuple[Route, ...] = (
    *_routes("/api/v1/orgs/{org_id}", "org", ORG_ADMIN, "org", get_access, put_access),
    *_routes(
        "/api/v1/orgs/{org_id}/teams/{team_id}",
        "team",
        TEAM_ADMIN,
        "team",
        get_access,
        put_access,
        description=f"What the organisation may not use cannot be in the list. {_ALL}",
    ),
    *_routes(
        "/api/v1/orgs/{org_id}/keys/{key_id}",
        "key",
        MEMBER,
        "org",
        get_key_access,
        put_key_access,
        codes=("conflict",),
        description=f"Whoever does not govern the key can make its list shorter only. {_ALL}",
    ),
)
