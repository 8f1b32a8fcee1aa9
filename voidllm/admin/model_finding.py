"""Which model a request is about, and changing it without losing what others change meanwhile."""

from __future__ import annotations

from typing import Any, Awaitable, Callable, Iterable, NoReturn, TypeVar

from voidllm.admin.access import missing
from voidllm.admin.declare import Call, changed
from voidllm.admin.model_shapes import Deployment
from voidllm.admin.model_views import configured_id, names_of
from voidllm.config.models import ModelConfig
from voidllm.core.errors import Refusal
from voidllm.store import models
from voidllm.store.model_records import StoredDeployment, StoredModel

D = TypeVar("D", StoredDeployment, Deployment)

#: How often a change is decided anew that others keep overtaking.
_ATTEMPTS = 5


def configured(call: Call[Any, Any]) -> tuple[ModelConfig, ...]:
    """Give the models of the configuration file."""
    return call.context.config().models


async def find_model(call: Call[Any, Any]) -> StoredModel | ModelConfig:
    """Find the model in the path by its id or, if it can be written there, its name.

    :raises Refusal: 404.
    """
    ref = call.path["model_id"]
    for model in configured(call):
        if ref in (model.name, configured_id(model.name)):
            return model
    found = await call.read(models.get_model, ref)
    if found is None:
        raise missing()
    return found


async def find_stored(call: Call[Any, Any]) -> StoredModel:
    """Find a model that can be changed over the API.

    :raises Refusal: 404, or 409 for one of the configuration file.
    """
    found = await find_model(call)
    if isinstance(found, ModelConfig):
        _in_the_file(call, found)
    return found


def _in_the_file(call: Call[Any, Any], model: ModelConfig) -> NoReturn:
    place = [one.name for one in configured(call)].index(model.name)
    raise Refusal(
        409,
        "conflict",
        f"this model is defined in the configuration file (models[{place}]); change it there and reload",
    )


def find_deployment(call: Call[Any, Any], deployments: Iterable[D]) -> D:
    """Find the deployment in the path by its id.

    :param deployments: those of the model in the path.
    :raises Refusal: 404.
    """
    for one in deployments:
        if one.id == call.path["deployment_id"]:
            return one
    raise missing()


async def require_free(call: Call[Any, Any], old: StoredModel | None, new: StoredModel) -> None:
    """Refuse names that another model has; a name that was this model's before is not asked for.

    :raises Refusal: 409.
    """
    known = names_of(configured(call))
    before = frozenset() if old is None else {old.name, *old.aliases}
    fresh = [name for name in (new.name, *new.aliases) if name not in before]
    taken = await call.read(models.taken, tuple(fresh), new.id)
    for name in fresh:
        param = "name" if name == new.name else "aliases"
        if name in known:
            raise Refusal(409, "conflict", f"{param}: the configuration file defines this name", param=param)
        if name in taken:
            raise Refusal(409, "conflict", f"{param}: another model has this name", param=param)


async def change(
    call: Call[Any, Any], decide: Callable[[StoredModel], Awaitable[StoredModel]]
) -> StoredModel:
    """Change the model in the path, decided anew if somebody else was quicker.

    :param decide: gives what it shall be; may refuse.
    :raises Refusal: 404, 409, or 412 if others keep changing it.
    """
    for _ in range(_ATTEMPTS):
        old = await find_stored(call)
        new = await decide(old)
        if (old.name, old.aliases) != (new.name, new.aliases):
            await require_free(call, old, new)
        made = await call.change(models.change_model, old, new)
        if made is not None:
            return made
    raise changed()
