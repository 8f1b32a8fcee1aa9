"""One sign-on at an identity provider: the way there, and what is made of the code that comes back."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import quote_plus, urlencode

from voidllm.admin.oidc_http import Fetcher
from voidllm.admin.oidc_metadata import Directory, Metadata
from voidllm.auth.oidc import Person, Provider, SignOnRefused
from voidllm.auth.oidc_claims import complete, is_complete, person_of
from voidllm.auth.oidc_flow import Flow
from voidllm.auth.oidc_tokens import MAX_TOKEN, Expected, UnknownKey, check_id_token


def authorization_url(metadata: Metadata, provider: Provider, flow: Flow) -> str:
    """Give where the browser is sent to (OpenID Connect Core 3.1.2.1, RFC 7636)."""
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": provider.redirect_url,
        "scope": provider.scope,
        "state": flow.state,
        "nonce": flow.nonce,
        "code_challenge": flow.challenge,
        "code_challenge_method": "S256",
    }
    url = metadata.authorization
    return f"{url}{'&' if '?' in url else '?'}{urlencode(asked)}"


async def identify_person(
    directory: Directory,
    fetcher: Fetcher,
    provider: Provider,
    flow: Flow,
    code: str,
    issuer: str | None,
    now_s: int,
) -> Person:
    """Exchange a code and give whom the provider vouches for.

    :param issuer: who the browser says that it comes from (RFC 9207), if it says so.
    :param now_s: Unix time.
    :raises SignOnRefused: if it vouches for nobody, or for nobody who may come in.
    """
    metadata = await directory.metadata(fetcher, provider)
    if (issuer is None and metadata.names_itself) or issuer not in (None, provider.issuer):
        raise SignOnRefused("exchange_failed", "the code comes from another identity provider")
    reply = await fetcher.post(metadata.token, *_token_request(metadata, provider, flow, code))
    token, access = reply.get("id_token"), reply.get("access_token")
    if not isinstance(token, str):
        raise SignOnRefused("exchange_failed", "the identity provider gives no ID token")
    claims = await _claims(directory, fetcher, provider, metadata, flow, token, now_s)
    usable = (
        isinstance(access, str) and len(access) <= MAX_TOKEN and access.isascii() and access.isprintable()
    )
    if metadata.userinfo is not None and usable and not is_complete(claims, provider):
        more = await fetcher.get(metadata.userinfo, [("authorization", f"Bearer {access}")])
        claims = complete(claims, more)
    return person_of(claims, provider)


async def _claims(
    directory: Directory,
    fetcher: Fetcher,
    provider: Provider,
    metadata: Metadata,
    flow: Flow,
    token: str,
    now_s: int,
) -> dict[str, Any]:
    expected = Expected(provider.issuer, provider.client_id, flow.nonce, now_s)
    keys = await directory.keys(fetcher, provider, metadata.jwks)
    try:
        return check_id_token(token, keys, expected)
    except UnknownKey:
        # The provider may have begun to sign with another one.
        newer = await directory.keys(fetcher, provider, metadata.jwks, missing=True)
        if newer == keys:
            raise
        return check_id_token(token, newer, expected)


def _token_request(
    metadata: Metadata, provider: Provider, flow: Flow, code: str
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": provider.redirect_url,
        "code_verifier": flow.verifier,
    }
    secret = provider.client_secret
    if secret and "client_secret_basic" in metadata.auth_methods:
        # RFC 6749 section 2.3.1: both are form-encoded first.
        both = f"{quote_plus(provider.client_id)}:{quote_plus(secret)}"
        return form, [("authorization", f"Basic {b64encode(both.encode('ascii')).decode('ascii')}")]
    form["client_id"] = provider.client_id
    if secret:
        form["client_secret"] = secret
    return form, []
