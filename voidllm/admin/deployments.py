"""``/api/v1/models/{model_id}/deployments``."""

from __future__ import annotations

from attrs import evolve

from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Nothing, Page
from voidllm.admin.model_finding import change, find_deployment, find_model
from voidllm.admin.model_operations import view
from voidllm.admin.model_rules import checked, given, replaced
from voidllm.admin.model_secrets import credential_of, placed
from voidllm.admin.model_shapes import Deployment, DeploymentList, DeploymentPatch, NewDeployment
from voidllm.admin.model_views import deployment_view, with_credential
from voidllm.admin.paging import envelope, page_of
from voidllm.auth.roles import SYSTEM_ADMIN
from voidllm.store import credentials
from voidllm.store.model_records import StoredDeployment, StoredModel


async def list_deployments(call: Call[DeploymentList, Nothing]) -> Page[Deployment]:
    """Give one page of a model's deployments.

    :raises Refusal: 400 or 404.
    """
    query = call.query
    page = page_of(query, query.sort)

    def place(one: Deployment) -> tuple[str, str]:
        return (one.name if page.sort == "name" else one.created_at or "", one.id)

    every = view(call, await find_model(call)).deployments
    wanted = sorted((one for one in every if _wanted(query, one)), key=place, reverse=page.descending)
    if page.after is not None:
        wanted = [
            one for one in wanted if place(one) != page.after and (place(one) > page.after) != page.descending
        ]
    shown = envelope(query, query.sort, wanted[: page.limit], lambda one: one, place)
    if query.expand:
        ids = frozenset(one.credential_id for one in shown.data if one.credential_id)
        names = await call.read(credentials.credential_names, ids)
        data = [with_credential(one, names) for one in shown.data]
        shown = Page(data=data, has_more=shown.has_more, next_cursor=shown.next_cursor)
    return shown


def _wanted(query: DeploymentList, one: Deployment) -> bool:
    return (
        (query.provider is None or one.provider == query.provider)
        and (query.is_active is None or one.is_active == query.is_active)
        and (query.q is None or query.q.lower() in one.name.lower())
    )


async def create_deployment(call: Call[Nothing, NewDeployment]) -> Deployment:
    """Add a deployment to a model.

    :raises Refusal: 400, 404, 409 for a model of the configuration file, or 412.
    """
    found = given(call.body)
    deployment_id, now_ms = call.new_id(), call.now_ms

    async def decide(old: StoredModel) -> StoredModel:
        empty = StoredDeployment(deployment_id, old.id, "", "", "", "", now_ms, now_ms)
        made = placed(call, empty, found, await credential_of(call, found))
        return checked(replaced(evolve(old, updated_at_ms=now_ms), made))

    return _shown(await change(call, decide), deployment_id)


async def get_deployment(call: Call[Nothing, Nothing]) -> Deployment:
    """Show a deployment.

    :raises Refusal: 404.
    """
    model = await find_model(call)
    if isinstance(model, StoredModel):
        return deployment_view(model, find_deployment(call, model.deployments))
    return find_deployment(call, view(call, model).deployments)


async def change_deployment(call: Call[Nothing, DeploymentPatch]) -> Deployment:
    """Change some of a deployment.

    :raises Refusal: 400, 404, 409 for a model of the configuration file, or 412.
    """
    found = given(call.body)

    async def decide(old: StoredModel) -> StoredModel:
        one = find_deployment(call, old.deployments)
        call.demand(deployment_view(old, one))
        made = placed(call, one, found, await credential_of(call, found))
        return checked(replaced(evolve(old, updated_at_ms=call.now_ms), made))

    return _shown(await change(call, decide), call.path["deployment_id"])


async def delete_deployment(call: Call[Nothing, Nothing]) -> None:
    """Take a deployment away, with its key.

    :raises Refusal: 404, 409 for a model of the configuration file, or 412.
    """

    async def decide(old: StoredModel) -> StoredModel:
        gone = find_deployment(call, old.deployments)
        call.demand(deployment_view(old, gone))
        others = tuple(one for one in old.deployments if one.id != gone.id)
        return evolve(old, updated_at_ms=call.now_ms, deployments=others)

    await change(call, decide)


def _shown(model: StoredModel, deployment_id: str) -> Deployment:
    (one,) = (one for one in model.deployments if one.id == deployment_id)
    return deployment_view(model, one)


_ALL = "/api/v1/models/{model_id}/deployments"
_ONE = "/api/v1/models/{model_id}/deployments/{deployment_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_deployments",
        "List the deployments of a model",
        list_deployments,
        Page[Deployment],
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        query=DeploymentList,
    ),
    Route(
        "POST",
        _ALL,
        "create_deployment",
        "Add a deployment to a model",
        create_deployment,
        Deployment,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=NewDeployment,
        status=201,
        codes=("conflict", "precondition_failed"),
        tagged=True,
        example={
            "name": "second",
            "provider": "vllm",
            "base_url": "http://10.0.0.7:8000/v1",
            "is_active": False,
        },
        description="One deployment of a model is active at a time.",
    ),
    Route(
        "GET",
        _ONE,
        "get_deployment",
        "Show a deployment",
        get_deployment,
        Deployment,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        tagged=True,
    ),
    Route(
        "PATCH",
        _ONE,
        "change_deployment",
        "Change a deployment",
        change_deployment,
        Deployment,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=DeploymentPatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example={"weight": 3, "is_active": True},
        description="A JSON merge patch (RFC 7396).",
    ),
    Route(
        "DELETE",
        _ONE,
        "delete_deployment",
        "Take a deployment away",
        delete_deployment,
        None,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        status=204,
        codes=("conflict",),
        guarded=True,
    ),
)
