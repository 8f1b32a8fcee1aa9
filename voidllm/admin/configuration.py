"""``/api/v1/config``: what the gateway runs with, without secrets."""

from __future__ import annotations

from typing import Any

from voidllm.admin.access import READ, require_scope
from voidllm.admin.context import AdminContext
from voidllm.admin.fields import query_args
from voidllm.admin.replies import reply
from voidllm.auth.roles import SYSTEM_ADMIN, require


def add_routes(app: Any, context: AdminContext, identify: Any) -> None:
    """Add the routes of this resource to a Klein application."""

    @app.route("/api/v1/config", methods=["GET"])  # type: ignore[untyped-decorator]
    async def get_config(request: Any) -> bytes:
        actor = identify(request)
        require_scope(actor, READ)
        # It is about the whole installation, which is more than one organisation's business.
        require(actor.role, SYSTEM_ADMIN)
        query_args(request.args, ())
        return reply(request, 200, dict(context.config_view()))
