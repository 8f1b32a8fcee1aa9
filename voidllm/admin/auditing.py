"""What was refused to somebody who is known goes on record, as what was done does."""

from __future__ import annotations

from typing import Mapping

from twisted.logger import Logger

from voidllm.admin.access import Actor
from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Client, Route, author_of
from voidllm.core.errors import Refusal, StoreError
from voidllm.core.ids import uuid7
from voidllm.store.audit import Entry

_log = Logger()


async def refused(
    route: Route,
    context: AdminContext,
    actor: Actor,
    client: Client,
    path: Mapping[str, str],
    refusal: Refusal,
) -> None:
    """Put on record that a change, or a look at what is somebody else's, was refused.

    Of the request nothing is kept but the route; what it was about may be a value that a stranger made up.
    """
    if not context.audited or actor.kind == "anonymous" or refusal.status >= 500:
        return
    if route.method == "GET" and refusal.status != 403:
        return
    now_ms = context.world.wall_ms()
    entry = Entry(
        id=uuid7(now_ms, context.world.random_bytes),
        at_ms=now_ms,
        author=author_of(actor, client, refusal.status),
        action=route.name,
        resource_type=route.resource,
        org_id=actor.org_id,
        error_code=refusal.code,
    )
    try:
        await context.store.note([entry])
    except StoreError as error:
        # The refusal itself stands, whether or not it could be written down.
        _log.warn("a refusal was not put on record: {kind}", kind=type(error).__name__)
