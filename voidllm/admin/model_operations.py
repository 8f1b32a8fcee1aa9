"""What can be done with models."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from voidllm.admin.declare import Call, changed
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.model_finding import change, configured, find_model, find_stored, require_free
from voidllm.admin.model_rules import ENDPOINT, checked, given, model_of, replaced
from voidllm.admin.model_secrets import credential_of, placed
from voidllm.admin.model_shapes import Model, ModelList, ModelPatch, NewModel
from voidllm.admin.model_views import configured_view, names_of, stored_view, with_credentials
from voidllm.admin.paging import envelope, page_of
from voidllm.config.models import ModelConfig
from voidllm.store import credentials, models
from voidllm.store.model_records import StoredDeployment, StoredModel

#: What the deployment is called that a model gets along.
_FIRST = "default"


def view(call: Call[Any, Any], model: StoredModel | ModelConfig) -> Model:
    """Show a model."""
    if isinstance(model, ModelConfig):
        return configured_view(model)
    return stored_view(model, names_of(configured(call)))


async def list_models(call: Call[ModelList, Nothing]) -> Page[Model]:
    """Give one page of all models, of the configuration file and of the store.

    There are few enough of them to be sorted here.

    :raises Refusal: 400.
    """
    query = call.query
    page = page_of(query, query.sort)
    stored = await call.read(models.all_models)
    every = [*map(configured_view, configured(call)), *(view(call, model) for model in stored)]
    wanted = sorted((one for one in every if _wanted(query, one)), key=lambda one: _place(query, one))
    if page.descending:
        wanted.reverse()
    if page.after is not None:
        wanted = [one for one in wanted if (_place(query, one) > page.after) != page.descending]
        wanted = [one for one in wanted if _place(query, one) != page.after]
    shown = envelope(query, query.sort, wanted[: page.limit], lambda one: one, lambda one: _place(query, one))
    if query.expand:
        ids = frozenset(
            one.credential_id for model in shown.data for one in model.deployments if one.credential_id
        )
        names = await call.read(credentials.credential_names, ids)
        shown = Page(
            data=[with_credentials(model, names) for model in shown.data],
            has_more=shown.has_more,
            next_cursor=shown.next_cursor,
        )
    return shown


def _place(query: ModelList, model: Model) -> tuple[str, str]:
    by = model.name if query.sort.endswith("name") else model.created_at or ""
    return by, model.id


def _wanted(query: ModelList, model: Model) -> bool:
    names = (model.name, *model.aliases)
    return (
        (query.include_inactive or model.is_active)
        and (query.type is None or model.type == query.type)
        and (query.source is None or model.source == query.source)
        and (query.provider is None or any(one.provider == query.provider for one in model.deployments))
        and (query.q is None or any(query.q.lower() in name.lower() for name in names))
    )


async def create_model(call: Call[Nothing, NewModel]) -> Model:
    """Keep a model, with its first deployment if it says where it runs.

    :raises Refusal: 400, or 409 for a name that is taken.
    """
    found = given(call.body)
    now_ms = call.now_ms
    new = model_of(StoredModel(call.new_id(), "", "chat", now_ms, now_ms), found, now_ms)
    if found["provider"] is not None:
        new = await _with_endpoint(call, new, found)
    else:
        for name in ENDPOINT - {"provider"}:
            if found[name] is not None:
                raise bad("provider is required", "provider")
    new = checked(new)
    await require_free(call, None, new)
    made = await call.change(models.create_model, new)
    assert made is not None
    return view(call, made)


async def get_model(call: Call[Nothing, Nothing]) -> Model:
    """Show a model.

    :raises Refusal: 404.
    """
    return view(call, await find_model(call))


async def change_model(call: Call[Nothing, ModelPatch]) -> Model:
    """Change some of a model, or of its only deployment.

    :raises Refusal: 400, 404, 409 for one of the configuration file or a name that is taken, or 412.
    """
    found = given(call.body)

    async def decide(old: StoredModel) -> StoredModel:
        call.demand(view(call, old))
        new = model_of(old, found, call.now_ms)
        if ENDPOINT & found.keys():
            new = await _with_endpoint(call, new, found)
        return checked(new)

    return view(call, await change(call, decide))


async def activate_model(call: Call[Nothing, Nothing]) -> Model:
    """Serve a model again.

    :raises Refusal: 404, 409 or 412.
    """
    return await _switch(call, True)


async def deactivate_model(call: Call[Nothing, Nothing]) -> Model:
    """Serve a model no longer, and keep it.

    :raises Refusal: 404, 409 or 412.
    """
    return await _switch(call, False)


async def delete_model(call: Call[Nothing, Nothing]) -> None:
    """Delete a model with its deployments and their keys.

    :raises Refusal: 404, 409 for one of the configuration file, or 412.
    """
    for _ in range(2):
        old = await find_stored(call)
        call.demand(view(call, old))
        if await call.change(models.delete_model, old) is not None:
            return
    raise changed()


async def _switch(call: Call[Nothing, Nothing], active: bool) -> Model:
    async def decide(old: StoredModel) -> StoredModel:
        call.demand(view(call, old))
        return evolve(old, is_active=active, updated_at_ms=call.now_ms)

    return view(call, await change(call, decide))


async def _with_endpoint(call: Call[Any, Any], model: StoredModel, found: dict[str, Any]) -> StoredModel:
    """Give a model whose only deployment is what a request says, made if there is none."""
    if len(model.deployments) > 1:
        field = sorted(ENDPOINT & found.keys())[0]
        raise bad("this model has several deployments; change one of them", field)
    if model.deployments:
        old = model.deployments[0]
    elif found.get("provider") is None:
        raise bad("provider is required", "provider")
    else:
        old = StoredDeployment(call.new_id(), model.id, _FIRST, "", "", "", call.now_ms, call.now_ms)
    # The name and whether it is active are the model's.
    endpoint = {name: found[name] for name in ENDPOINT if name in found}
    return replaced(model, placed(call, old, endpoint, await credential_of(call, endpoint)))
