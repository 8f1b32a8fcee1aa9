"""Models, deployments and shared credentials."""

from __future__ import annotations

from typing import Any, Mapping

from tests.admin.samples import Sample
from tests.store.support import NOW, new_id
from voidllm.config.models import ModelConfig
from voidllm.store import credentials, models
from voidllm.store.model_records import StoredCredential, StoredDeployment, StoredModel


async def a_model(case: Any) -> Mapping[str, str]:
    """A stored model with one deployment."""
    return {"model_id": (await a_deployment(case))["model_id"]}


async def a_deployment(case: Any) -> Mapping[str, str]:
    """The deployment of a stored model."""
    model_id, one = new_id(), new_id()
    place = StoredDeployment(one, model_id, "default", "demo", "", "", NOW, NOW)
    model = StoredModel(model_id, f"m-{model_id}", "chat", NOW, NOW, deployments=(place,))
    await case.store.change(None, models.create_model, model)
    return {"model_id": model_id, "deployment_id": one}


async def a_credential(case: Any) -> Mapping[str, str]:
    """A shared credential."""
    one = new_id()
    sealed = case.keyring.seal("sk-sample", "credentials", "api_key", one)
    new = StoredCredential(one, f"c-{one}", "openai", sealed, NOW, NOW)
    await case.store.change(None, credentials.create_credential, new)
    return {"credential_id": one}


async def _name_taken(case: Any, route: Any) -> None:
    await case.call("POST", route.path, {"name": "taken"})
    await case.call("POST", route.path, {"name": "taken"})


async def _in_the_file(case: Any, route: Any) -> None:
    from attrs import evolve

    before = case.config
    case.config = evolve(before, models=(ModelConfig(name="filed", provider="demo"),))
    path = route.path.format(model_id="filed", deployment_id="default")
    await case.call(route.method, path, SAMPLES[route.name].bodies({})[0])
    case.config = before


async def _changed_meanwhile(case: Any, route: Any) -> None:
    parts = await a_model(case)
    original = case.store.change

    def overtaken(*args: Any) -> Any:
        return original(args[0], _nothing)

    case.store.change = overtaken
    try:
        await case.call(route.method, route.path.format(**parts), SAMPLES[route.name].bodies({})[0])
    finally:
        del case.store.change


def _nothing() -> Any:
    return None
    yield


async def _credential_taken(case: Any, route: Any) -> None:
    body = {"name": "taken", "provider": "openai", "api_key": "sk"}
    await case.call("POST", "/api/v1/credentials", body)
    if route.method == "POST":
        await case.call("POST", "/api/v1/credentials", body)
    else:
        parts = await a_credential(case)
        await case.call("PATCH", route.path.format(**parts), {"name": "taken"})


async def _credential_used(case: Any, route: Any) -> None:
    parts = await a_credential(case)
    model = {
        "name": f"m-{new_id()}",
        "provider": "openai",
        "base_url": "http://127.0.0.1:1/v1",
        "credential_id": parts["credential_id"],
    }
    await case.call("POST", "/api/v1/models", model)
    await case.call("DELETE", route.path.format(**parts))


def _named(_: Mapping[str, str]) -> Mapping[str, Any]:
    return {"name": f"m-{new_id()}"}


def _credential(_: Mapping[str, str]) -> Mapping[str, Any]:
    return {"name": f"c-{new_id()}", "provider": "openai", "api_key": "sk-sample"}


def _second(_: Mapping[str, str]) -> Mapping[str, Any]:
    return {"name": f"d-{new_id()}", "provider": "demo", "is_active": False}


_FILED = {"conflict": _in_the_file}

SAMPLES = {
    "list_health": Sample(),
    "test_connection": Sample(body={"provider": "demo"}, other={"provider": "demo", "api_key": "k"}),
    "test_deployment": Sample(a_deployment),
    "list_models": Sample(),
    "create_model": Sample(body=_named, other=_named, provoke={"conflict": _name_taken}),
    "get_model": Sample(a_model),
    "change_model": Sample(a_model, {"max_retries": 1}, {"max_retries": 2}, provoke=_FILED),
    "delete_model": Sample(a_model, provoke=_FILED),
    "activate_model": Sample(a_model, provoke=_FILED),
    "deactivate_model": Sample(a_model, provoke=_FILED),
    "list_deployments": Sample(a_model),
    "create_deployment": Sample(
        a_model, _second, _second, provoke={**_FILED, "precondition_failed": _changed_meanwhile}
    ),
    "get_deployment": Sample(a_deployment),
    "change_deployment": Sample(a_deployment, {"weight": 2}, {"weight": 3}, provoke=_FILED),
    "delete_deployment": Sample(a_deployment, provoke=_FILED),
    "list_credentials": Sample(),
    "create_credential": Sample(body=_credential, other=_credential, provoke={"conflict": _credential_taken}),
    "get_credential": Sample(a_credential),
    "change_credential": Sample(
        a_credential, {"api_key": "a"}, {"api_key": "b"}, provoke={"conflict": _credential_taken}
    ),
    "delete_credential": Sample(a_credential, provoke={"conflict": _credential_used}),
}
