"""From what a browser brings back to a session of somebody."""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import evolve
from twisted.logger import Logger

from voidllm.admin.access import ANYBODY
from voidllm.admin.declare import Call, author_of
from voidllm.admin.kinds import Nothing
from voidllm.admin.oidc_client import identify_person
from voidllm.admin.session_cookies import new_session
from voidllm.admin.sso_providers import find_provider
from voidllm.admin.sso_shapes import Returned
from voidllm.auth import oidc_flow
from voidllm.auth.oidc import Person, Provider, SignOnRefused
from voidllm.auth.oidc_groups import wanted_memberships
from voidllm.auth.sessions import MOST_PER_USER
from voidllm.core.errors import StateError, StoreError
from voidllm.store import directory, sso
from voidllm.store.audit import Entry
from voidllm.store.sso_sign_on import Arrival, NotLetIn, find_person
from voidllm.store.sso_sign_on import sign_on as store_sign_on

_log = Logger()


async def sign_on(call: Call[Returned, Nothing], cookie: str | None) -> str:
    """Sign somebody on and give the token of the session.

    :param cookie: what the browser kept meanwhile.
    :raises SignOnRefused: if nobody is signed on; nothing was changed then.
    :raises StoreError: if the database cannot be used.
    """
    ask, context, parts = call.query, call.context, call.context.sign_on
    flow = oidc_flow.resume(cookie, ask.state, call.now_ms, context.digester.digest)
    if not await call.write(sso.use_once, oidc_flow.used_once(flow), call.now_ms, flow.expires_at_ms):
        raise SignOnRefused("invalid_state", "it was used before")
    try:
        provider = await find_provider(call, flow.org_id)
    except StateError:
        raise SignOnRefused("lookup_failed", "the client secret cannot be read") from None
    if provider is None:
        raise SignOnRefused("lookup_failed", "there is no such identity provider any more")
    if ask.error is not None:
        raise SignOnRefused("auth_failed", "the identity provider says no")
    if not ask.code:
        raise SignOnRefused("missing_code")
    try:
        async with parts.fetching(provider) as fetcher:
            person = await identify_person(
                parts.directory, fetcher, provider, flow, ask.code, ask.iss, call.now_ms // 1000
            )
    except SignOnRefused as refused:
        if refused.reason != "exchange_failed":
            await _note(call, provider, refused.reason, None)
        raise
    return await _let_in(call, provider, person)


async def _let_in(call: Call[Returned, Nothing], provider: Provider, person: Person) -> str:
    context = call.context
    org_id = provider.org_id
    if org_id is None:
        org = await call.read(directory.find_org, context.sign_on.settings.default_org or None)
        org_id = None if org is None else org.id
    session, token = new_session(call, "", "sso")
    arrival = Arrival(
        issuer=person.issuer,
        subject=person.subject,
        email=person.email,
        name=person.name,
        confined=provider.org_id is not None,
        org_id=org_id,
        auto_provision=provider.auto_provision,
        default_role=provider.default_role,
        new_id=call.new_id(),
        session=session,
    )
    decide = partial(wanted_memberships, provider, person.groups)
    user_id = await call.read(find_person, arrival)
    somebody = evolve(ANYBODY, kind="user", user_id=user_id, org_id=org_id, name=person.name)
    author = author_of(somebody, call.client, call.status) if context.audited else None
    try:
        await context.store.change(author, store_sign_on, arrival, decide, MOST_PER_USER)
    except NotLetIn as refused:
        await _note(call, provider, refused.reason, refused.user_id)
        raise SignOnRefused(refused.reason, refused.detail) from None
    return token


async def _note(call: Call[Any, Any], provider: Provider, reason: str, user_id: str | None) -> None:
    """Put on record that somebody whom a provider knows was not let in."""
    if not call.context.audited:
        return
    entry = Entry(
        id=call.new_id(),
        at_ms=call.now_ms,
        author=author_of(ANYBODY, call.client, call.status),
        action="login_failed",
        resource_type="user",
        resource_id=user_id,
        org_id=provider.org_id,
        error_code=reason,
    )
    try:
        await call.context.store.note([entry])
    except StoreError as error:
        # The refusal itself stands, whether or not it could be written down.
        _log.warn("a refused sign-on was not put on record: {kind}", kind=type(error).__name__)
