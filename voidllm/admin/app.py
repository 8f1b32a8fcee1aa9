"""The admin application: declared routes, served over HTTP, with one way to answer and to fail.

Klein and the routes are imported when an application is built, not before: they cost more time
than the whole rest of a start.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Awaitable, Callable

from voidllm.admin.access import ANYBODY, Actor
from voidllm.admin.clients import client_of
from voidllm.admin.context import AdminContext
from voidllm.admin.identify import identify as by_credential
from voidllm.admin.replies import answer_failure, body_of, header_of, not_modified, reply, wrong_method
from voidllm.admin.streaming import Stream, send

if TYPE_CHECKING:
    from klein import Klein

    from voidllm.admin.declare import Route

__all__ = ["AdminContext", "Identify", "make_app"]

#: Says who sent a request, or raises a Refusal.
Identify = Callable[[Any], Awaitable[Actor]]

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_PART = re.compile(r"\{(\w+)\}")


def make_app(
    context: AdminContext, identify: Identify | None = None, *, for_operators: bool = False
) -> Klein:
    """Build the application that serves ``/api/v1``.

    :param identify: who calls; by default whom the request's API key or session speaks for.
    :param for_operators: serve also what is only for whoever runs the gateway.
    """
    from klein import Klein

    from voidllm.admin.routes import OPERATORS, ROUTES
    from voidllm.admin.viewer import add_viewer

    app = Klein()
    # Another spelling of a path is another path, not a redirect to where a body would be lost.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    who = identify if identify is not None else partial(by_credential, context)
    routes = (*ROUTES, *(OPERATORS if for_operators else ()))
    for route in routes:
        _serve(app, context, who, route)
    _close(app, routes)
    add_viewer(app, context)
    # typing note: Klein's own annotation of the handler's result leaves out plain bytes.
    handle: Any = app.handle_errors(Exception)
    handle(answer_failure)
    return app


def _close(app: Any, routes: tuple[Route, ...]) -> None:
    """Keep what a path in so many words does not take from whatever serves others that look like it."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        methods.setdefault(route.path, set()).add(route.method)
    patterns = {path: re.compile(_PART.sub("[^/]+", path)) for path in methods if "{" in path}
    for path, allowed in methods.items():
        if any(pattern.fullmatch(path) for other, pattern in patterns.items() if other != path):
            _refuse(app, path, sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))


def _refuse(app: Any, path: str, allowed: list[str]) -> None:
    others = [one for one in _METHODS if one not in allowed]

    @app.route(_PART.sub(r"<\1>", path), methods=others, endpoint=f"not {path}")  # type: ignore[untyped-decorator]
    def refuse(request: Any, **path: str) -> None:
        raise wrong_method(allowed)


def _serve(app: Any, context: AdminContext, identify: Identify, route: Route) -> None:
    from voidllm.admin.calls import Request, perform
    from voidllm.admin.etags import matches
    from voidllm.admin.once import HEADER

    rule = _PART.sub(r"<\1>", route.path)

    @app.route(rule, methods=[route.method], endpoint=route.name)  # type: ignore[untyped-decorator]
    async def serve(request: Any, **path: str) -> bytes:
        actor = ANYBODY if route.role is None else await identify(request)
        asked = Request(
            path,
            request.args,
            partial(body_of, request),
            header_of(request, "If-Match"),
            header_of(request, HEADER),
            client_of(request, context.trusted),
        )
        answer = await perform(route, context, actor, asked)
        for name, value in answer.headers:
            request.responseHeaders.addRawHeader(name.encode("latin-1"), value.encode("latin-1"))
        if answer.etag is not None:
            request.setHeader(b"etag", answer.etag.encode("ascii"))
            known = header_of(request, "If-None-Match")
            if route.method == "GET" and known is not None and matches(known, answer.etag, weakly=True):
                return not_modified(request)
        if answer.again:
            request.setHeader(b"idempotency-replayed", b"true")
        if isinstance(answer.value, Stream):
            return await send(request, answer.value, answer.status)
        return reply(request, answer.status, answer.value)
