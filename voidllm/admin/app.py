"""The admin application: routes of every resource, and one way to answer and to fail.

Klein is imported when an application is built, not before: it costs more time than the
whole rest of a start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable

from voidllm.admin import configuration, keys, usage
from voidllm.admin.access import Actor, actor_of
from voidllm.admin.context import AdminContext
from voidllm.admin.replies import answer_failure

if TYPE_CHECKING:
    from klein import Klein

__all__ = ["AdminContext", "Identify", "make_app"]

#: Says who sent a request, or raises a Refusal.
Identify = Callable[[Any], Actor]


def make_app(
    context: AdminContext,
    identify: Identify | None = None,
    more: Iterable[Callable[[Any, Identify], None]] = (),
) -> Klein:
    """Build the application that serves ``/api/v1``.

    :param identify: who calls; by default whom the request's API key speaks for.
    :param more: add routes of their own to the application, given it and ``identify``.
    """
    from klein import Klein

    app = Klein()
    # Another spelling of a path is another path, not a redirect to where a body would be lost.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    who = identify if identify is not None else _by_key(context)
    for module in (keys, usage, configuration):
        module.add_routes(app, context, who)
    for add in more:
        add(app, who)
    # typing note: Klein's own annotation of the handler's result leaves out plain bytes.
    handle: Any = app.handle_errors(Exception)
    handle(answer_failure)
    return app


def _by_key(context: AdminContext) -> Identify:
    def identify(request: Any) -> Actor:
        headers = [
            (name.lower(), value)
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        return actor_of(context, headers)

    return identify
