"""Who sends a request, by the key that is in it."""

from __future__ import annotations

from typing import Any

from voidllm.admin.access import Actor, actor_of
from voidllm.admin.context import AdminContext
from voidllm.auth.credentials import find_credential
from voidllm.core.errors import Refusal
from voidllm.store import standing

_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


async def identify(context: AdminContext, request: Any) -> Actor:
    """Find who calls.

    Roles are what the database says now, not what a snapshot said a moment ago. It is not asked
    for keys that no snapshot knows, so that strangers cannot keep it busy.

    :param request: a request of twisted.web.
    :raises Refusal: 401 without a key that is known and alive, 400 for two different ones.
    """
    headers = [
        (name.lower(), value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]
    try:
        credential = find_credential(headers)
    except Refusal as refusal:
        if refusal.status == 401:
            refusal.headers = _CHALLENGE
        raise
    digest = context.digester.digest(credential)
    now_ms = context.world.wall_ms()
    principal = context.snapshots.current.keys.get(digest)
    if principal is None or (principal.expires_at_ms is not None and principal.expires_at_ms <= now_ms):
        raise unknown()
    found = await context.store.read(standing.of_key, digest.hex(), now_ms)
    if found is None:
        raise unknown()
    return actor_of(found)


def unknown() -> Refusal:
    """Make the 401 of a key that nobody has, or had."""
    return Refusal(401, "unauthorized", "invalid API key", headers=_CHALLENGE)
