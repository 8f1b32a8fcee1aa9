"""One request through a declared route: who may, what is asked, the answer.

The HTTP application and the commands on a stopped gateway both end here, so that they
cannot differ.
"""

from __future__ import annotations

from typing import Any, Mapping

from attrs import field, frozen
from msgspec import Struct

from voidllm.admin.access import Actor, require_scope
from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Call, Route
from voidllm.admin.etags import etag_of
from voidllm.admin.once import perform_once
from voidllm.admin.reading import read, read_query
from voidllm.auth.roles import require
from voidllm.core.errors import Refusal
from voidllm.store.base import detached
from voidllm.store.statements import storable

_LONGEST = 64


@frozen
class Request:
    """What a request holds, unread.

    :ivar query: names to values, as twisted.web has them.
    :ivar match: what ``If-Match`` says.
    :ivar key: what ``Idempotency-Key`` says.
    """

    path: Mapping[str, str] = field(factory=dict)
    query: Mapping[bytes, list[bytes]] = field(factory=dict)
    body: Mapping[str, Any] = field(factory=dict, repr=False)
    match: str | None = None
    key: str | None = None


@frozen
class Answer:
    """What to reply with.

    :ivar value: what the body is encoded from, ``None`` for no body.
    :ivar again: it was kept from an earlier request.
    """

    status: int
    value: Any = field(repr=False)
    etag: str | None = None
    again: bool = False


def authorize(route: Route, actor: Actor) -> None:
    """Refuse whoever may not use a route at all.

    :raises Refusal: 403.
    """
    if route.scope is not None:
        require_scope(actor, route.scope)
    if route.role is not None:
        require(actor.role, route.role)


async def perform(route: Route, context: AdminContext, actor: Actor, request: Request) -> Answer:
    """Do what a request asks for.

    A change that has begun is carried through, whether or not anybody waits for the answer.

    :raises Refusal: one of :func:`~voidllm.admin.declare.codes_of`.
    """
    authorize(route, actor)
    for part in request.path.values():
        if len(part) > _LONGEST or not storable(part):
            raise Refusal(404, "not_found", "there is no such thing, or it is not yours")
    query = read_query(route.query, request.query)
    body = read(route.body, request.body)
    call: Call[Any, Any] = Call(context, actor, request.path, query, body, request.match)

    async def work() -> Answer:
        value = await route.handle(call)
        tag = etag_of(value) if route.tagged and isinstance(value, Struct) else None
        return Answer(route.status, value, tag)

    if route.method == "GET":
        return await work()
    if route.once and request.key is not None:
        answer: Answer = await detached(_once(route, context, actor, request, work))
        return answer
    answer = await detached(work())
    return answer


async def _once(route: Route, context: AdminContext, actor: Actor, request: Request, work: Any) -> Answer:
    query = sorted((name.decode("latin-1"), values[0].decode()) for name, values in request.query.items())
    asked = [route.method, route.path, dict(request.path), query, request.body]
    return await perform_once(
        context, actor.subject, request.key or "", asked, route.secrets, work, _kept_answer
    )


def _kept_answer(status: int, value: Any) -> Answer:
    return Answer(status, value, again=True)
