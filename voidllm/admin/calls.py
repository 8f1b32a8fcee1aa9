"""One request through a declared route: who may, what is asked, the answer, the record of a refusal.

The HTTP application and the commands on a stopped gateway both end here, so that they
cannot differ.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Mapping

import msgspec
from attrs import field, frozen
from msgspec import Struct

from voidllm.admin.access import Actor, missing, require_org, require_scope, require_team
from voidllm.admin.auditing import refusal_of, refused
from voidllm.admin.context import AdminContext
from voidllm.admin.declare import NOBODY, Call, Client, Route
from voidllm.admin.etags import etag_of
from voidllm.admin.once import perform_once
from voidllm.admin.reading import read, read_query
from voidllm.auth.roles import SYSTEM_ADMIN, require
from voidllm.core.errors import Refusal, StoreConflict, StoreRejected
from voidllm.store import directory
from voidllm.store.base import detached
from voidllm.store.statements import storable

_LONGEST = 64


@frozen
class Request:
    """What a request holds, unread.

    :ivar query: names to values, as twisted.web has them.
    :ivar body: gives the JSON object of the body; not called for those who may not send one.
    :ivar match: what ``If-Match`` says.
    :ivar key: what ``Idempotency-Key`` says.
    """

    path: Mapping[str, str] = field(factory=dict)
    query: Mapping[bytes, list[bytes]] = field(factory=dict)
    body: Callable[[], Mapping[str, Any]] = field(default=dict, repr=False)
    match: str | None = None
    key: str | None = None
    client: Client = NOBODY


@frozen
class Answer:
    """What to reply with.

    :ivar value: what the body is encoded from, ``None`` for no body.
    :ivar again: it was kept from an earlier request.
    :ivar headers: names and values to be added.
    """

    status: int
    value: Any = field(repr=False)
    etag: str | None = None
    again: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def authorize(route: Route, actor: Actor) -> None:
    """Refuse whoever may not use a route at all, whatever it is about.

    :raises Refusal: 403.
    """
    if route.scope is not None:
        require_scope(actor, route.scope)
    if route.role is not None and route.tenant not in ("org", "team"):
        require(actor.role, route.role)
    if actor.must_change_password and actor.session_id is not None and not route.unready:
        raise Refusal(403, "password_change_required", "change your password first: POST /api/v1/me/password")


async def perform(route: Route, context: AdminContext, actor: Actor, request: Request) -> Answer:
    """Do what a request asks for.

    A change that has begun is carried through, whether or not anybody waits for the answer.

    :raises Refusal: one of :func:`~voidllm.admin.declare.codes_of`.
    """
    try:
        return await _perform(route, context, actor, request)
    except (Refusal, StoreConflict, StoreRejected) as error:
        refusal = error if isinstance(error, Refusal) else refusal_of(error)
        await refused(route, context, actor, request.client, request.path, refusal)
        raise


async def _perform(route: Route, context: AdminContext, actor: Actor, request: Request) -> Answer:
    authorize(route, actor)
    for part in request.path.values():
        if len(part) > _LONGEST or not storable(part):
            raise missing()
    org, team = await _about(route, context, actor, request.path)
    # Before anything is read of what somebody sends who may not.
    body: Mapping[str, Any] = {} if route.method == "GET" else request.body()
    query = read_query(route.query, request.query)
    call: Call[Any, Any] = Call(
        context,
        actor,
        request.path,
        query,
        read(route.body, body),
        request.match,
        request.client,
        route.status,
        org,
        team,
    )

    async def work() -> Answer:
        value = await route.handle(call)
        tag = etag_of(value) if route.tagged and isinstance(value, Struct) else None
        return Answer(route.status, value, tag, headers=tuple(call.headers))

    if route.method == "GET":
        return await work()
    if route.once and request.key is not None:
        answer: Answer = await detached(_once(route, context, actor, request, body, work))
        return answer
    answer = await detached(work())
    return answer


async def _about(
    route: Route, context: AdminContext, actor: Actor, path: Mapping[str, str]
) -> tuple[Any, Any]:
    """Find the organisation and the team in the path, and refuse whoever may not use the route there.

    :raises Refusal: 404 or 403.
    """
    if route.tenant not in ("org", "team"):
        return None, None
    org, team = await context.store.read(directory.find_scopes, path["org_id"], path.get("team_id"))
    if org is None or (team is None and "team_id" in path):
        raise missing()
    least = route.role or SYSTEM_ADMIN
    if route.tenant == "team":
        require_team(actor, org.id, team.id, least)
    else:
        require_org(actor, org.id, least)
    return org, team


async def _once(
    route: Route,
    context: AdminContext,
    actor: Actor,
    request: Request,
    body: Mapping[str, Any],
    work: Any,
) -> Answer:
    query = sorted((name.decode("latin-1"), values[0].decode()) for name, values in request.query.items())
    asked = [route.method, route.path, dict(request.path), query, body]
    return await perform_once(
        context, actor.subject, request.key or "", asked, route.secrets, work, partial(_kept_answer, route)
    )


def _kept_answer(route: Route, status: int, value: Any) -> Answer:
    """Make the answer that was given before, with the tag that the thing had then."""
    try:
        tag = etag_of(msgspec.convert(value, route.reply)) if route.tagged else None
    except msgspec.ValidationError:
        # An older version of the program gave it.
        tag = None
    return Answer(status, value, tag, again=True)
