"""Who sends a request, by the key or the session that is in it."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from voidllm.admin.access import Actor, actor_of
from voidllm.admin.clients import client_of
from voidllm.admin.context import AdminContext
from voidllm.admin.session_cookies import digest_of, require_csrf_token, token_in
from voidllm.auth.credentials import CREDENTIAL_HEADERS, find_credential
from voidllm.auth.csrf import SAFE
from voidllm.auth.keys import PREFIXES
from voidllm.auth.sessions import SEEN_EVERY_MS, is_genuine
from voidllm.core.errors import Refusal, StoreError
from voidllm.core.networks import inside
from voidllm.store import sessions, standing

_SESSION_PREFIX = PREFIXES["session_key"].encode("ascii")
_log = Logger()
_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


async def identify(context: AdminContext, request: Any) -> Actor:
    """Find who calls, by the key or the session's token in a header, or else by the session in a cookie.

    Roles are what the database says now, not what a snapshot said a moment ago. It is not asked
    for keys that no snapshot knows, nor for sessions that were made up, so that strangers cannot
    keep it busy.

    :param request: a request of twisted.web.
    :raises Refusal: 401 without a key or session that is known and alive, 400 for two different ones,
        403 for a cookie that another site's page has made the browser send, or for a key that may
        not be used from the client's address.
    """
    headers = [
        (name.lower(), value)
        for name, values in request.requestHeaders.getAllRawHeaders()
        for value in values
    ]
    client = client_of(request, context.trusted)
    in_cookie = None if any(name in CREDENTIAL_HEADERS for name, _ in headers) else token_in(context, client)
    if in_cookie is not None:
        if request.method.decode("latin-1") not in SAFE:
            require_csrf_token(context, client, in_cookie)
        return await _by_session(context, in_cookie)
    try:
        credential = find_credential(headers)
    except Refusal as refusal:
        if refusal.status == 401:
            refusal.headers = _CHALLENGE
        raise
    if credential.startswith(_SESSION_PREFIX):
        return await _by_session(context, credential.decode("latin-1"))
    return await _by_key(context, credential, client.address)


async def _by_key(context: AdminContext, credential: bytes, address: str) -> Actor:
    digest = context.digester.digest(credential)
    now_ms = context.world.wall_ms()
    principal = context.snapshots.current.keys.get(digest)
    if principal is None or (principal.expires_at_ms is not None and principal.expires_at_ms <= now_ms):
        raise unknown()
    found = await context.store.read(standing.of_key, digest.hex(), now_ms)
    if found is None:
        raise unknown()
    if found.addresses and not inside(found.addresses, address):
        raise Refusal(403, "address_not_allowed", "the API key may not be used from this address")
    return actor_of(found)


async def _by_session(context: AdminContext, token: str) -> Actor:
    if not is_genuine(token, context.digester.digest):
        raise unknown()
    found = await context.store.read(sessions.find_session, digest_of(context, token))
    now_ms = context.world.wall_ms()
    if found is None:
        raise unknown()
    session, person = found
    if not context.sessions.alive(session.seen_at_ms, session.expires_at_ms, now_ms):
        raise unknown()
    if now_ms - session.seen_at_ms >= SEEN_EVERY_MS:
        await _seen(context, session.id, now_ms)
    return actor_of(person, session.id)


async def _seen(context: AdminContext, session_id: str, now_ms: int) -> None:
    try:
        await context.store.write(sessions.seen, session_id, now_ms)
    except StoreError as error:
        # The next request tries again; what was asked for may need no writing at all.
        _log.warn("the use of a session was not noted: {kind}", kind=type(error).__name__)


def unknown() -> Refusal:
    """Make the 401 of a key that nobody has, or had."""
    return Refusal(401, "unauthorized", "invalid API key or session", headers=_CHALLENGE)
