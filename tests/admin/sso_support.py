"""An administration with a real identity provider beside it, and a browser between the two."""

from __future__ import annotations

import atexit
import time
from functools import cache
from ipaddress import ip_network
from typing import Any

from attrs import evolve
from twisted.internet.threads import deferToThread

from tests.admin.support import AdminCase
from tests.idp import Browser, IdentityProvider
from voidllm.admin.sso_parts import SignOn, SignOnSettings
from voidllm.auth.oidc import Provider
from voidllm.core.keyring import Keyring
from voidllm.store.statements import Op, q

_TABLES = ("users", "org_memberships", "team_memberships", "sessions", "sso_identities", "sso_teams")
CALLBACK = "/api/v1/auth/oidc/callback"


@cache
def identity_provider() -> IdentityProvider:
    """Give the provider of this run of tests."""
    provider = IdentityProvider(["http://127.0.0.1" + CALLBACK])
    atexit.register(provider.stop)
    return provider


def _rows(sql: str, *params: Any) -> Op[list[Any]]:
    return [list(row) for row in (yield q(sql, *params))]


class SSOCase(AdminCase):
    """Single sign-on of the installation, which makes users of ``example.org``."""

    async def _set_up(self) -> None:
        self.idp: IdentityProvider = await deferToThread(identity_provider)
        await deferToThread(self.idp.control, accounts={}, mangle=None, requests=0)
        await super()._set_up()
        # The provider has the clock of this machine.
        self.ahead_ms = 0
        self.world = evolve(self.world, wall_ms=lambda: time.time_ns() // 1_000_000 + self.ahead_ms)
        self.context = evolve(
            self.context,
            world=self.world,
            secrets=Keyring([bytes(range(32))]),
            sign_on=SignOn(self.world, lambda: self.settings),
        )
        self.gateway = f"http://127.0.0.1:{self.port}"
        self.browser = Browser(self.gateway)
        self.set_up_sso()

    def set_up_sso(self, **changes: Any) -> None:
        """Give the installation a provider, with some settings of its own."""
        provider = Provider(
            **{
                "org_id": None,
                "issuer": self.idp.issuer,
                "client_id": self.idp.client_id,
                "client_secret": self.idp.client_secret,
                "redirect_url": self.gateway + CALLBACK,
                "scopes": ("openid", "email", "profile", "groups"),
                "allowed_domains": ("example.org",),
                "auto_provision": True,
                **changes,
            }
        )
        self.configure(provider)

    def configure(self, provider: Provider | None, networks: tuple[str, ...] = ("127.0.0.0/8",)) -> None:
        """Set what ``settings.sso`` would."""
        self.settings = SignOnSettings(
            provider, self.org.slug, private_networks=tuple(map(ip_network, networks))
        )

    async def person(self, name: str = "ann", **claims: Any) -> None:
        """Let the provider know one person, with a good address unless told otherwise."""
        values = {"email": f"{name}@example.org", "email_verified": True, "name": name.title()}
        await deferToThread(self.idp.person, name, {**values, **claims})

    async def sign_on(self, name: str = "ann", path: str = "/api/v1/auth/oidc/login") -> str:
        """Sign on in a fresh browser; gives the path that one ends at."""
        self.browser = Browser(self.gateway)
        place: str = await deferToThread(self.browser.sign_on, name, path)
        return place

    async def me(self) -> Any:
        """Say whom the browser's session belongs to; ``None`` without one."""
        reply = await deferToThread(self.browser.get, "/api/v1/me")
        return reply.json() if reply.status_code == 200 else None

    async def rows(self, sql: str, *params: Any) -> list[Any]:
        """Read the database."""
        found: list[Any] = await self.store.read(_rows, sql, *params)
        return found

    async def execute(self, sql: str, *params: Any) -> None:
        """Run one statement on the store."""
        await self.store.write(_rows, sql, *params)

    async def stored(self) -> dict[str, list[Any]]:
        """Read all that a sign-on can change."""
        return {table: await self.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in _TABLES}
