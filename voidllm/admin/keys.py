"""``/api/v1/keys``."""

from __future__ import annotations

from typing import Any

from voidllm.admin import operations
from voidllm.admin.context import AdminContext
from voidllm.admin.fields import known_only, query_args
from voidllm.admin.replies import body_of, reply

_LIST = ("limit", "cursor", "org", "include_revoked")


def add_routes(app: Any, context: AdminContext, identify: Any) -> None:
    """Add the routes of this resource to a Klein application."""

    @app.route("/api/v1/keys", methods=["GET"])  # type: ignore[untyped-decorator]
    async def list_keys(request: Any) -> bytes:
        actor = identify(request)
        page = await operations.list_keys(context, actor, query_args(request.args, _LIST))
        return reply(request, 200, page)

    @app.route("/api/v1/keys", methods=["POST"])  # type: ignore[untyped-decorator]
    async def create_key(request: Any) -> bytes:
        actor = identify(request)
        query_args(request.args, ())
        return reply(request, 201, await operations.create_key(context, actor, body_of(request)))

    @app.route("/api/v1/keys/<key_id>", methods=["GET"])  # type: ignore[untyped-decorator]
    async def get_key(request: Any, key_id: str) -> bytes:
        actor = identify(request)
        query_args(request.args, ())
        return reply(request, 200, await operations.get_key(context, actor, key_id))

    @app.route("/api/v1/keys/<key_id>", methods=["DELETE"])  # type: ignore[untyped-decorator]
    async def revoke_key(request: Any, key_id: str) -> bytes:
        actor = identify(request)
        query_args(request.args, ())
        known_only(body_of(request), ())
        return reply(request, 200, await operations.revoke_key(context, actor, key_id))

    @app.route("/api/v1/keys/<key_id>/rotate", methods=["POST"])  # type: ignore[untyped-decorator]
    async def rotate_key(request: Any, key_id: str) -> bytes:
        actor = identify(request)
        query_args(request.args, ())
        rotated = await operations.rotate_key(context, actor, key_id, body_of(request))
        return reply(request, 200, rotated)
