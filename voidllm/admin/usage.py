"""``/api/v1/usage``."""

from __future__ import annotations

from typing import Any

from voidllm.admin.context import AdminContext
from voidllm.admin.fields import query_args
from voidllm.admin.replies import reply
from voidllm.admin.reporting import usage


def add_routes(app: Any, context: AdminContext, identify: Any) -> None:
    """Add the routes of this resource to a Klein application."""

    @app.route("/api/v1/usage", methods=["GET"])  # type: ignore[untyped-decorator]
    async def get_usage(request: Any) -> bytes:
        actor = identify(request)
        query = query_args(request.args, ("group_by", "since", "until"))
        return reply(request, 200, await usage(context, actor, query))
