"""Single sign-on as the installation has it, and what is known of identity providers meanwhile."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import AsyncIterator, Callable, Mapping

from attrs import define, evolve, field, frozen

from voidllm.admin.oidc_guard import Lookups
from voidllm.admin.oidc_http import Fetcher, ProxyFor, Reach, direct, fetching
from voidllm.admin.oidc_metadata import Directory
from voidllm.auth.oidc import GroupRule, Provider, SignOnRefused
from voidllm.auth.roles import MEMBER
from voidllm.config import Config
from voidllm.config.proxies import proxy_for
from voidllm.core.world import World
from voidllm.http.clientaddr import Network

#: Sign-ons that may wait for their providers at the same time; each has connections of its own.
AT_ONCE = 32
#: Of these, with the provider of one organisation, which may take as long as it likes.
AT_ONCE_EACH = 8


@frozen
class SignOnSettings:
    """What ``settings.sso`` says.

    :ivar provider: the installation's own, ``None`` for none.
    :ivar default_org: slug of the organisation of its new users; empty for the oldest one.
    :ivar ca_file: signs the certificates of providers; empty for the system's authorities.
    :ivar private_networks: those that providers of organisations may be in besides public addresses.
    :ivar proxy_for: gives the proxy to the installation's provider for (scheme, host, port).
    """

    provider: Provider | None = None
    default_org: str = ""
    ca_file: str = ""
    private_networks: tuple[Network, ...] = ()
    proxy_for: ProxyFor = field(default=direct, repr=False)

    def reach(self, provider: Provider) -> Reach:
        """Say how a provider is connected to; the installation's own may be anywhere."""
        networks = None if provider.org_id is None else self.private_networks
        return Reach(networks, self.ca_file or None, self.proxy_for)


def settings_of(config: Config, environ: Mapping[str, str]) -> SignOnSettings:
    """Translate ``settings.sso``.

    :param environ: may name a proxy.
    """
    sso, proxy = config.settings.sso, config.upstream.proxy

    def through(scheme: str, host: str, port: int) -> str | None:
        return proxy_for(
            f"{scheme}://{host}:{port}" if ":" not in host else f"{scheme}://[{host}]:{port}", proxy, environ
        )

    provider = Provider(
        org_id=None,
        issuer=sso.issuer,
        client_id=sso.client_id,
        client_secret=sso.client_secret,
        redirect_url=sso.redirect_url,
        scopes=sso.scopes,
        allowed_domains=tuple(domain.lower() for domain in sso.allowed_domains),
        auto_provision=sso.auto_provision,
        # Who leads a team is written with the team.
        default_role=MEMBER,
        group_sync=sso.group_sync,
        group_claim=sso.group_claim,
        groups=tuple(
            GroupRule(rule.group, rule.role or None, rule.team or None, rule.team_role)
            for rule in sso.group_rules
        ),
    )
    own = provider if sso.enabled else None
    return SignOnSettings(own, sso.default_org, sso.ca_file, sso.private_networks, through)


@define(eq=False)
class SignOn:
    """What sign-ons share.

    :ivar configured: gives the settings as they are now.
    :ivar running: sign-ons that wait for their provider now.
    :ivar lookups: looks up the names of organisations' providers.
    """

    world: World
    configured: Callable[[], SignOnSettings]
    directory: Directory = field(init=False)
    running: int = field(default=0, init=False)
    lookups: Lookups = field(init=False)
    _each: Counter[str] = field(factory=Counter, init=False)

    def __attrs_post_init__(self) -> None:
        self.directory = Directory(self.world.reactor.seconds)
        self.lookups = Lookups(self.world.in_thread)

    @property
    def settings(self) -> SignOnSettings:
        """The settings as they are now."""
        return self.configured()

    @asynccontextmanager
    async def fetching(self, provider: Provider) -> AsyncIterator[Fetcher]:
        """Open the way to a provider.

        :raises SignOnRefused: ``exchange_failed`` if too many wait for theirs, or for this one.
        """
        org_id, reach = provider.org_id, self.settings.reach(provider)
        if self.running >= AT_ONCE or (org_id is not None and self._each[org_id] >= AT_ONCE_EACH):
            raise SignOnRefused("exchange_failed", "too many sign-ons wait for their identity providers")
        self.running += 1
        if org_id is not None:
            self._each[org_id] += 1
            reach = evolve(reach, in_thread=self.lookups.of(org_id))
        try:
            async with fetching(self.world, reach) as fetcher:
                yield fetcher
        finally:
            self.running -= 1
            if org_id is not None:
                self._each[org_id] -= 1
                if not self._each[org_id]:
                    del self._each[org_id]
