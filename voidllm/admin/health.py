"""``/api/v1/models/health``: how the upstreams are, as far as that is known."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from voidllm.admin.access import READ, Actor
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Count, Listing, Nothing, Page, Text, Time
from voidllm.admin.paging import envelope, page_of
from voidllm.auth.roles import MEMBER
from voidllm.core.model import Model
from voidllm.core.snapshot import Snapshot
from voidllm.store import access_rows
from voidllm.store.statements import Op

#: Everything that one way to a model must be in: each is a list of names, or ``None`` for all.
Lists = list[frozenset[str] | None]


class DeploymentHealth(Struct, kw_only=True, frozen=True):
    """How one deployment is; ``null`` is what nobody has looked at."""

    name: Annotated[str, Meta(description="model, or model/deployment")]
    model: str
    deployment: str
    provider: str
    status: Literal["healthy", "degraded", "unhealthy", "unknown"]
    last_check: Time | None = None
    last_error: str | None = None
    latency_ms: Count | None = None
    health_ok: bool | None = None
    models_ok: bool | None = None
    functional_ok: bool | None = None


class HealthList(Listing):
    """Which deployments."""

    q: Annotated[Text, Meta(description="is in the name")] | None = None
    sort: Literal["name", "-name"] = "name"
    status: Literal["healthy", "degraded", "unhealthy", "unknown"] | None = None


def visible_models(snapshot: Snapshot, ways: list[Lists]) -> list[Model]:
    """Give the models that somebody may know of, sorted by name.

    :param ways: a model is visible if all the lists of one way hold it.
    """
    return [
        model
        for name, model in sorted(snapshot.models.items())
        if any(all(one is None or name in one for one in lists) for lists in ways)
    ]


def ways_of(actor: Actor) -> Op[list[Lists]]:
    """Read by which lists models are visible to a caller: one way for each organisation."""
    if actor.everywhere:
        return [[]]
    shared: Lists = []
    for kind, id_ in (("team", actor.team_id), ("key", actor.key_id)):
        if id_ is not None:
            shared.append((yield from access_rows.get_access(kind, id_)))
    found = []
    for org_id in actor.orgs or ([actor.org_id] if actor.org_id is not None else []):
        found.append([(yield from access_rows.get_access("org", org_id)), *shared])
    return found


async def list_health(call: Call[HealthList, Nothing]) -> Page[DeploymentHealth]:
    """Give one page of the deployments that the caller may know of.

    Nothing looks at upstreams yet, so all that can be said of any is that it is unknown.

    :raises Refusal: 400.
    """
    query = call.query
    page = page_of(query, query.sort)
    models = visible_models(call.context.snapshots.current, await call.read(ways_of, call.actor))
    rows = [
        DeploymentHealth(
            name=one.key, model=model.name, deployment=one.name, provider=one.provider, status="unknown"
        )
        for model in models
        for one in model.deployments
    ]
    wanted = sorted((row for row in rows if _wanted(query, row)), key=_place, reverse=page.descending)
    if page.after is not None:
        after: Any = page.after
        wanted = [row for row in wanted if _place(row) != after and (_place(row) > after) != page.descending]
    return envelope(query, query.sort, wanted[: page.limit], lambda row: row, _place)


def _place(row: DeploymentHealth) -> tuple[str, str]:
    return (row.name, row.name)


def _wanted(query: HealthList, row: DeploymentHealth) -> bool:
    return (query.q is None or query.q.lower() in row.name.lower()) and query.status in (None, row.status)


ROUTES = (
    Route(
        "GET",
        "/api/v1/models/health",
        "list_health",
        "Say how the upstreams are",
        list_health,
        Page[DeploymentHealth],
        MEMBER,
        READ,
        query=HealthList,
        description="Of the models that the caller may know of. Upstreams are not probed in this version: "
        "each is `unknown`.",
    ),
)
