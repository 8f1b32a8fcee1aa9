"""``/api/v1/auth/providers`` and ``/api/v1/auth/oidc``: signing on at an identity provider."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from twisted.logger import Logger

from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Nothing
from voidllm.admin.oidc_client import authorization_url
from voidllm.admin.session_cookies import set_cookies
from voidllm.admin.sso_providers import provider_of
from voidllm.admin.sso_shapes import AskProviders, Begin, OrgProvider, Providers, Returned
from voidllm.admin.sso_sign_on import sign_on
from voidllm.auth import oidc_flow
from voidllm.auth.oidc import Provider, SignOnRefused
from voidllm.auth.oidc_claims import domain_of, plain_email
from voidllm.core.errors import Refusal, StateError, StoreError
from voidllm.store import sso

#: Holds what a sign-on is made from while people are at their provider.
COOKIE = "voidllm_oidc"
_PATH = "/api/v1/auth/oidc"
LOGIN = f"{_PATH}/login"
_AFTER = "/auth/callback"
_AGAIN = "/login?error="
_LONGEST_HEADER = 8192
_log = Logger()


async def list_providers(call: Call[AskProviders, Nothing]) -> Providers:
    """Say how people can log in; of an address only its domain is looked at."""
    ask, own = call.query, call.context.sign_on.settings.provider
    slug = None
    if ask.org is not None:
        found = await call.read(sso.find_sso, ask.org)
        slug = ask.org if found is not None else None
    elif ask.email is not None and (email := plain_email(ask.email.strip())) is not None:
        slug = await call.read(sso.slug_of_domain, domain_of(email))
    shown = Providers(local=True, oidc=own is not None)
    if own is not None:
        shown = Providers(local=True, oidc=True, login_url=LOGIN)
    if slug is None:
        return shown
    theirs = OrgProvider(org=slug, login_url=f"{LOGIN}?org={quote(slug)}")
    return Providers(local=True, oidc=shown.oidc, login_url=shown.login_url, organization=theirs)


async def begin(call: Call[Begin, Nothing]) -> None:
    """Send a browser to its identity provider.

    :raises Refusal: 404 if there is none.
    """
    context, parts = call.context, call.context.sign_on
    try:
        provider = await _asked(call)
        flow = oidc_flow.begin(
            provider.org_id, call.now_ms, context.world.random_bytes, context.digester.digest
        )
        async with parts.fetching(provider) as fetcher:
            metadata = await parts.directory.metadata(fetcher, provider)
    except SignOnRefused as refused:
        _refuse(call, refused)
        return
    _set_cookie(call, flow.cookie, oidc_flow.LIFETIME_MS // 1000, _secure(call, provider))
    _redirect(call, authorization_url(metadata, provider, flow))


async def _asked(call: Call[Begin, Nothing]) -> Provider:
    slug = call.query.org
    if slug is None:
        provider = call.context.sign_on.settings.provider
    else:
        stored = await call.read(sso.find_sso, slug)
        try:
            provider = None if stored is None else provider_of(call.context, stored)
        except StateError:
            raise SignOnRefused("lookup_failed", "the client secret cannot be read") from None
    if provider is None:
        raise Refusal(404, "not_found", "single sign-on is not set up here", param="org")
    return provider


async def come_back(call: Call[Returned, Nothing]) -> None:
    """Sign a browser on that comes back from its identity provider; it is always sent on."""
    _set_cookie(call, "", 0, call.client.secure)
    try:
        token = await sign_on(call, _cookie(call))
    except SignOnRefused as refused:
        _refuse(call, refused)
        return
    except StoreError as error:
        _refuse(call, SignOnRefused("lookup_failed", f"the database cannot be used ({type(error).__name__})"))
        return
    set_cookies(call, token, lax=True)
    _redirect(call, _AFTER)


def _refuse(call: Call[Returned, Nothing] | Call[Begin, Nothing], refused: SignOnRefused) -> None:
    _log.warn(
        "a sign-on was refused: {reason}: {detail}",
        reason=refused.reason,
        detail=refused.detail,
        request_id=call.client.request_id,
    )
    _redirect(call, _AGAIN + refused.reason)


def _redirect(call: Call[Returned, Nothing] | Call[Begin, Nothing], url: str) -> None:
    call.headers.extend([("Location", url), ("Referrer-Policy", "no-referrer")])


def _secure(call: Call[Begin, Nothing], provider: Provider) -> bool:
    return call.client.secure or urlsplit(provider.redirect_url).scheme == "https"


def _set_cookie(
    call: Call[Returned, Nothing] | Call[Begin, Nothing], value: str, age_s: int, secure: bool
) -> None:
    # Lax: the way back begins on another site.
    how = f"Path={_PATH}; HttpOnly; SameSite=Lax; Max-Age={age_s}{'; Secure' if secure else ''}"
    call.headers.append(("Set-Cookie", f"{COOKIE}={value}; {how}"))


def _cookie(call: Call[Returned, Nothing]) -> str | None:
    found = set()
    for one in (call.client.header("Cookie") or "")[:_LONGEST_HEADER].replace(",", ";").split(";"):
        name, _, value = one.strip().partition("=")
        if name == COOKIE:
            found.add(value)
    return found.pop() if len(found) == 1 else None


_WORDS = (
    "For browsers. Whoever is signed on comes to `/auth/callback` with the cookies of a session, everybody"
    " else to `/login?error=` and one of `invalid_state`, `missing_code`, `exchange_failed`, `invalid_email`,"
    " `domain_not_allowed`, `not_provisioned`, `provision_failed`, `lookup_failed`, `auth_failed`."
)

ROUTES = (
    Route(
        "GET",
        "/api/v1/auth/providers",
        "list_login_providers",
        "How people can log in",
        list_providers,
        Providers,
        None,
        tenant="none",
        query=AskProviders,
    ),
    Route(
        "GET",
        LOGIN,
        "begin_sign_on",
        "Sign on at an identity provider",
        begin,
        None,
        None,
        tenant="none",
        query=Begin,
        status=302,
        codes=("not_found",),
        description=_WORDS,
    ),
    Route(
        "GET",
        f"{_PATH}/callback",
        "end_sign_on",
        "Where identity providers send people back to",
        come_back,
        None,
        None,
        tenant="none",
        query=Returned,
        status=302,
        stored=False,
        description=_WORDS,
    ),
)
