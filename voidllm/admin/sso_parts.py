"""Single sign-on as the installation has it, and what is known of identity providers meanwhile."""

from __future__ import annotations

from attrs import define, field, frozen

from voidllm.admin.oidc_http import ProxyFor, Reach, direct
from voidllm.admin.oidc_metadata import Directory
from voidllm.auth.oidc import Provider, SignOnRefused
from voidllm.core.world import World
from voidllm.http.clientaddr import Network

#: Sign-ons that may wait for their providers at the same time; each has connections of its own.
AT_ONCE = 32


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


@define(eq=False)
class SignOn:
    """What sign-ons share.

    :ivar running: sign-ons that wait for their provider now.
    """

    world: World
    settings: SignOnSettings = SignOnSettings()
    directory: Directory = field(init=False)
    running: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.directory = Directory(self.world.reactor.seconds)

    def enter(self) -> None:
        """Begin to wait for a provider; :meth:`leave` must follow.

        :raises SignOnRefused: ``exchange_failed`` if too many wait.
        """
        if self.running >= AT_ONCE:
            raise SignOnRefused("exchange_failed", "too many sign-ons wait for their identity providers")
        self.running += 1

    def leave(self) -> None:
        """End to wait for a provider."""
        self.running -= 1
