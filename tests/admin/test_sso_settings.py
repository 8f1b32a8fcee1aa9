"""From the configuration to what sign-ons go by, and which addresses they reach."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import faults, parse
from tests.store.support import world
from voidllm.admin.oidc_guard import GuardedResolver, Lookups, may_connect
from voidllm.admin.sso_parts import SignOn, SignOnSettings, settings_of
from voidllm.auth.oidc import GroupRule, Provider, SignOnRefused

_GOOD = """
settings:
  sso:
    enabled: true
    issuer: https://login.example.com
    client_id: voidllm
    client_secret: secret
    redirect_url: https://us.example.com/api/v1/auth/oidc/callback
    allowed_domains: [Example.com]
    auto_provision: true
    default_role: team_admin
    default_org: main
    group_sync: true
    group_rules:
      - {group: admins, role: org_admin}
      - {group: reds, team: red, team_role: team_admin}
    private_networks: [10.0.0.0/8]
"""


class ConfigurationTests(SynchronousTestCase):
    """``settings.sso``."""

    def test_whole(self) -> None:
        """All of it arrives; a role that only teams know is a plain member's."""
        config = parse(_GOOD)
        settings = settings_of(config, {"HTTPS_PROXY": "http://proxy:3128"})
        provider = settings.provider
        assert provider is not None
        self.assertEqual((provider.issuer, provider.client_secret), ("https://login.example.com", "secret"))
        self.assertEqual((provider.allowed_domains, provider.default_role), (("example.com",), "member"))
        rules = (GroupRule("admins", "org_admin"), GroupRule("reds", None, "red", "team_admin"))
        self.assertEqual(provider.groups, rules)
        self.assertEqual(settings.default_org, "main")
        self.assertEqual(settings.reach(provider).networks, None)
        self.assertEqual(settings.private_networks, (ip_network("10.0.0.0/8"),))
        self.assertEqual(settings.proxy_for("https", "login.example.com", 443), "http://proxy:3128")
        self.assertNotIn("secret", repr(provider))
        self.assertEqual(config.redacted()["settings"]["sso"]["client_secret"], "***")

    def test_off(self) -> None:
        """What is switched off is no provider, but organisations may still have theirs."""
        settings = settings_of(parse(_GOOD.replace("enabled: true", "enabled: false")), {})
        self.assertIsNone(settings.provider)
        self.assertEqual(settings.private_networks, (ip_network("10.0.0.0/8"),))

    def test_faults(self) -> None:
        """What is missing or wrong is said by its key, all of it at once."""
        for before, after, path in (
            ("issuer: https://login.example.com", "", "settings.sso.issuer"),
            ("https://login.example.com", "http://login.example.com", "settings.sso.issuer"),
            ("client_id: voidllm", "", "settings.sso.client_id"),
            ("https://us.example.com", "http://us.example.com", "settings.sso.redirect_url"),
            ("[Example.com]", "['ex\u00e4mple.com']", "settings.sso.allowed_domains[0]"),
            ("group_sync: true", "group_sync: true\n    scopes: [a b]", "settings.sso.scopes[0]"),
            ("{group: admins, role: org_admin}", "{group: admins}", "settings.sso.group_rules[0]"),
            ("{group: admins, role: org_admin}", "{role: member}", "settings.sso.group_rules[0].group"),
            ("role: org_admin", "role: system_admin, team: red", "settings.sso.group_rules[0].role"),
            ("10.0.0.0/8", "ten", "settings.sso.private_networks[0]"),
        ):
            (found,) = faults(_GOOD.replace(before, after))
            self.assertEqual(found.split(": ")[1], path)
        self.assertEqual(faults(_GOOD.replace("https://login.example.com", "http://127.0.0.1:8080/x")), [])


class GuardTests(SynchronousTestCase):
    """Addresses."""

    def test_addresses(self) -> None:
        """Only public addresses are reached, however they are written."""
        for address in ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"):
            self.assertTrue(may_connect(address, ()), address)
        for address in (
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fe80::1%eth0",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "64:ff9b:1::7f00:1",
            "::127.0.0.1",
            "::ffff:0:7f00:1",
            "fec0::1",
            "5f00::1",
            "192.0.0.192",
            "localhost",
            "",
        ):
            self.assertFalse(may_connect(address, ()), address)

    def test_allowed(self) -> None:
        """Networks that the installation allows are reached as well, and no others."""
        networks = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
        for address, wanted in (
            ("10.1.2.3", True),
            ("::ffff:10.1.2.3", True),
            ("fd00::1", True),
            ("192.168.1.1", False),
            ("::1", False),
        ):
            self.assertEqual(may_connect(address, networks), wanted, address)

    def test_names(self) -> None:
        """A name all of whose addresses may be reached leads to these very ones; any other leads nowhere."""
        answers = {
            "good.example": ["93.184.215.14"],
            "mixed.example": ["93.184.215.14", "10.0.0.1"],
            "2130706433": ["127.0.0.1"],
        }
        for host, wanted in (
            ("good.example", ["93.184.215.14"]),
            ("mixed.example", None),
            ("2130706433", None),
            ("169.254.169.254", None),
            ("::1", None),
            ("93.184.215.14", ["93.184.215.14"]),
        ):
            resolver = GuardedResolver(world(in_thread=_at_once), (), answers.__getitem__)
            found: list[object] = []
            resolver.resolve(host, found.append, lambda kept=found: kept.append(None))
            self.assertEqual(found, [wanted], host)
            self.assertEqual(resolver.refused, wanted is None)

    def test_few_lookups(self) -> None:
        """A name server that does not answer keeps few threads, and those of one organisation fewer."""
        running: list[Deferred[Any]] = []

        def later(f: Callable[..., Any], *args: Any) -> Deferred[Any]:
            running.append(Deferred())
            return running[-1]

        lookups = Lookups(later)
        asked = [lookups.of("evil")(str) for _ in range(34)]
        self.assertEqual(len(running), 2)
        self.failureResultOf(lookups.of("evil")(str), OSError)
        asked += [lookups.of(name)(str) for name in ("good", "other", "third")]
        self.assertEqual(len(running), 4)
        for one in running:
            one.callback(None)
        self.assertEqual([self.successResultOf(one) for one in asked], [None] * 37)
        self.assertEqual(lookups._each, {})


class SignOnTests(SynchronousTestCase):
    """What sign-ons share."""

    def test_one_slow_provider(self) -> None:
        """Sign-ons that wait for one organisation's provider leave places to the others, and to ours."""
        parts = SignOn(world(), SignOnSettings)

        def arrive(org_id: str | None) -> Deferred[None]:
            async def wait() -> None:
                async with parts.fetching(Provider(org_id, "https://x.example", "", "", "")):
                    await over

            return Deferred.fromCoroutine(wait())

        over: Deferred[None] = Deferred()
        waiting = [arrive("evil") for _ in range(8)]
        self.failureResultOf(arrive("evil"), SignOnRefused)
        waiting += [arrive("good"), arrive(None)]
        self.assertEqual(parts.running, 10)
        over.callback(None)
        for one in waiting:
            self.successResultOf(one)
        self.assertEqual(parts.running, 0)
        self.successResultOf(arrive("evil"))


def _at_once(f, *args):  # type: ignore[no-untyped-def]
    from twisted.internet.defer import maybeDeferred

    return maybeDeferred(f, *args)
