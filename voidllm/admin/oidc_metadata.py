"""What identity providers say of themselves and the keys that they sign with, remembered for a while."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Callable, Mapping, TypeVar

from attrs import define, field, frozen

from voidllm.admin.oidc_http import Fetcher
from voidllm.auth.oidc import Provider, SignOnRefused
from voidllm.config.sso_rules import provider_url_fault

#: How long both are good for, in seconds.
KEPT_S = 600.0
#: Soonest that keys are fetched again because one is not known: strangers can name unknown keys.
REFRESH_S = 60.0
#: How long a provider that cannot be used is left alone.
FAILED_S = 5.0
_MOST = 256
_MOST_URL = 2048

T = TypeVar("T")


@frozen
class Metadata:
    """The parts of OpenID Connect Discovery 1.0 section 3 that are needed.

    :ivar userinfo: the userinfo endpoint, if there is one.
    :ivar auth_methods: how clients show who they are at the token endpoint.
    :ivar names_itself: whether it says who it is when people come back (RFC 9207).
    """

    authorization: str
    token: str
    jwks: str
    userinfo: str | None = None
    auth_methods: tuple[str, ...] = ("client_secret_basic",)
    names_itself: bool = False


@define(eq=False)
class _Known:
    """What is known of one provider."""

    until_s: float
    metadata: Metadata | None = None
    failure: SignOnRefused | None = None
    keys: list[Mapping[str, Any]] | None = None
    keys_until_s: float = 0.0
    refreshed_s: float = -REFRESH_S


@define(eq=False)
class Directory:
    """Remembers providers. What one organisation's provider says is never taken for another one's.

    :ivar seconds: a monotonic clock.
    """

    seconds: Callable[[], float]
    _known: OrderedDict[tuple[str | None, str], _Known] = field(factory=OrderedDict, init=False)

    async def metadata(self, fetcher: Fetcher, provider: Provider) -> Metadata:
        """Give what a provider says of itself.

        :raises SignOnRefused: ``exchange_failed``.
        """
        known = self._of(provider)
        if known is None:
            known = _Known(self.seconds() + KEPT_S)
            try:
                known.metadata = await discover(fetcher, provider.issuer)
            except SignOnRefused as refused:
                known.until_s, known.failure = self.seconds() + FAILED_S, refused
            self._remember(provider, known)
        if known.metadata is None:
            raise known.failure or SignOnRefused("exchange_failed")
        return known.metadata

    async def keys(
        self, fetcher: Fetcher, provider: Provider, url: str, missing: bool = False
    ) -> list[Mapping[str, Any]]:
        """Give a provider's keys.

        :param url: where they are.
        :param missing: one is not among those that were given before.
        :raises SignOnRefused: ``exchange_failed``.
        """
        known, now_s = self._of(provider), self.seconds()
        if known is None:
            return _keys(await fetcher.get(url))
        if known.keys is not None and now_s < known.keys_until_s:
            if not missing or now_s < known.refreshed_s + REFRESH_S:
                return known.keys
            known.refreshed_s = now_s
        known.keys = _keys(await fetcher.get(url))
        known.keys_until_s = now_s + KEPT_S
        return known.keys

    def forget(self, org_id: str | None) -> None:
        """Forget the providers of an organisation, whose settings have changed."""
        for key in [key for key in self._known if key[0] == org_id]:
            del self._known[key]

    def _of(self, provider: Provider) -> _Known | None:
        known = self._known.get((provider.org_id, provider.issuer))
        return known if known is not None and self.seconds() < known.until_s else None

    def _remember(self, provider: Provider, known: _Known) -> None:
        key = (provider.org_id, provider.issuer)
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)


async def discover(fetcher: Fetcher, issuer: str) -> Metadata:
    """Ask a provider what it says of itself.

    :raises SignOnRefused: ``exchange_failed``; its detail says what is wrong.
    """
    found = await fetcher.get(issuer.rstrip("/") + "/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        raise SignOnRefused(
            "exchange_failed", "the identity provider calls itself otherwise than the issuer says"
        )
    methods = found.get("token_endpoint_auth_methods_supported")
    challenges = found.get("code_challenge_methods_supported")
    if isinstance(challenges, list) and "S256" not in challenges:
        raise SignOnRefused("exchange_failed", "the identity provider does not know PKCE with S256")
    return Metadata(
        _endpoint(found, "authorization_endpoint"),
        _endpoint(found, "token_endpoint"),
        _endpoint(found, "jwks_uri"),
        _endpoint(found, "userinfo_endpoint") if "userinfo_endpoint" in found else None,
        tuple(map(str, methods)) if isinstance(methods, list) else ("client_secret_basic",),
        found.get("authorization_response_iss_parameter_supported") is True,
    )


def _endpoint(found: Mapping[str, Any], name: str) -> str:
    url = found.get(name)
    if not isinstance(url, str) or len(url) > _MOST_URL:
        raise SignOnRefused("exchange_failed", f"the identity provider has no {name}")
    if (fault := provider_url_fault(url, query=True)) is not None:
        raise SignOnRefused("exchange_failed", f"the identity provider's {name} {fault}")
    return url


def _keys(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    keys = found.get("keys")
    if not isinstance(keys, list):
        raise SignOnRefused("exchange_failed", "the identity provider has no keys")
    return [key for key in keys if isinstance(key, dict)]
