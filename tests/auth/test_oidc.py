"""Sign-ons: secrets out of one cookie, claims, and what groups give and take."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.auth.oidc import GroupRule, Provider, SignOnRefused
from voidllm.auth.oidc_claims import complete, is_complete, person_of, plain_email
from voidllm.auth.oidc_flow import LIFETIME_MS, begin, resume, used_once
from voidllm.auth.oidc_groups import wanted_memberships
from voidllm.store.sso_sign_on import Memberships

NOW = 1_800_000_000_000
PROVIDER = Provider(None, "https://idp.example.org", "us", "", "https://us.example.org/callback")


def digest(data: bytes) -> bytes:
    return hmac.digest(b"key", data, "sha256")


def other_digest(data: bytes) -> bytes:
    return hmac.digest(b"another key", data, "sha256")


class FlowTests(SynchronousTestCase):
    """From a cookie and back."""

    def setUp(self) -> None:
        self.flow = begin("org-1", NOW, bytes, digest)

    def refused(self, *args: Any) -> None:
        error = self.assertRaises(SignOnRefused, resume, *args)
        self.assertEqual(error.reason, "invalid_state")

    def test_same(self) -> None:
        """Whoever comes back with cookie and state goes on with the same secrets."""
        self.assertEqual(resume(self.flow.cookie, self.flow.state, NOW + 1000, digest), self.flow)
        self.assertEqual(self.flow.org_id, "org-1")

    def test_secrets(self) -> None:
        """The secrets differ, have the form that they must have, and the challenge is the verifier's."""
        flow = self.flow
        self.assertEqual(len({flow.state, flow.nonce, flow.verifier, flow.cookie}), 4)
        self.assertTrue(re.fullmatch(r"[A-Za-z0-9_-]{43}", flow.verifier))
        expected = urlsafe_b64encode(hashlib.sha256(flow.verifier.encode()).digest()).decode().rstrip("=")
        self.assertEqual(flow.challenge, expected)
        self.assertNotIn(flow.state, used_once(flow))

    def test_not_this_browsers(self) -> None:
        """A state without its cookie, or with another one, is refused."""
        other = begin("org-1", NOW, lambda n: b"\1" * n, digest)
        self.refused(None, self.flow.state, NOW, digest)
        self.refused(other.cookie, self.flow.state, NOW, digest)
        self.refused(self.flow.cookie, None, NOW, digest)
        self.refused(self.flow.cookie, other.state, NOW, digest)
        self.refused(self.flow.cookie, "é", NOW, digest)

    def test_made_up(self) -> None:
        """Nobody can make a cookie, change whose provider it is of, or make it last longer."""
        for cookie in (
            self.flow.cookie.replace("org-1", "org-2"),
            self.flow.cookie.replace(str(NOW)[:3], "999"),
            f".{NOW + 1000}.{'0' * 32}",
            "x" * 10_000,
        ):
            self.refused(cookie, self.flow.state, NOW, digest)
        self.refused(self.flow.cookie, self.flow.state, NOW, other_digest)

    def test_too_late(self) -> None:
        """After ten minutes it is over."""
        resume(self.flow.cookie, self.flow.state, NOW + LIFETIME_MS - 1, digest)
        self.refused(self.flow.cookie, self.flow.state, NOW + LIFETIME_MS, digest)

    @given(st.text(max_size=80), st.text(max_size=80))
    @settings(max_examples=100, deadline=None)
    def test_anything(self, cookie: str, state: str) -> None:
        """Whatever is sent, it is refused in the same way."""
        self.refused(cookie, state, NOW, digest)


class ClaimTests(SynchronousTestCase):
    """Who somebody is."""

    def person(self, provider: Provider = PROVIDER, **changes: Any) -> Any:
        claims = {"sub": "1", "email": "Ann@Example.org", "email_verified": True, "name": "Ann", **changes}
        return person_of({name: value for name, value in claims.items() if value is not None}, provider)

    def refused(self, reason: str, provider: Provider = PROVIDER, **changes: Any) -> None:
        error = self.assertRaises(SignOnRefused, self.person, provider, **changes)
        self.assertEqual(error.reason, reason)

    def test_good(self) -> None:
        """The address is folded, the name kept."""
        person = self.person()
        self.assertEqual((person.email, person.name, person.subject), ("ann@example.org", "Ann", "1"))
        self.assertEqual(self.person(name=None).name, "ann")
        self.assertEqual(self.person(name="A\nB").name, "ann")

    def test_unverified(self) -> None:
        """Only an address that is said to be verified counts."""
        for value in (None, False, "false", 1, "yes"):
            self.refused("invalid_email", email_verified=value)
        self.person(email_verified="true")

    def test_look_alikes(self) -> None:
        """Letters of other scripts, and what folds to ASCII, make no address."""
        for email in (
            "\u0430nn@example.org",
            "ann@exampl\uff45.org",
            "\u212aim@example.org",
            "ann@example.org\u200b",
            "",
            None,
        ):
            self.refused("invalid_email", email=email)
        for email in (
            "a b@example.org",
            "ann@",
            "@example.org",
            "ann@example..org",
            "ann@-x.org",
            "a@b@c.org",
        ):
            self.assertIsNone(plain_email(email))

    def test_domains(self) -> None:
        """Only domains that are listed are let in, not what merely ends or begins like them."""
        provider = evolve(PROVIDER, allowed_domains=("example.org",))
        self.person(provider)
        for email in (
            "a@sub.example.org",
            "a@badexample.org",
            "a@example.org.evil.com",
            "example.org@evil.com",
        ):
            self.refused("domain_not_allowed", provider, email=email)

    def test_subject(self) -> None:
        """A subject must be a short text."""
        for subject in (None, "", 7, "x" * 256, "a\0b"):
            self.refused("exchange_failed", sub=subject)

    def test_groups(self) -> None:
        """Groups are a list of texts, or one text; none is none; elsewhere is not none."""
        provider = evolve(PROVIDER, group_sync=True)
        self.assertEqual(self.person(provider, groups=["a", "b"]).groups, {"a", "b"})
        self.assertEqual(self.person(provider, groups="a").groups, {"a"})
        self.assertEqual(self.person(provider).groups, frozenset())
        self.assertEqual(self.person(groups=["a"]).groups, frozenset())
        for groups in (7, [7], {"a": 1}, ["x" * 300], ["g"] * 1001):
            self.refused("exchange_failed", provider, groups=groups)
        self.refused("exchange_failed", provider, _claim_names={"groups": "src1"})

    def test_more(self) -> None:
        """Userinfo completes an ID token, about the same person only, and verifies no other address."""
        self.assertFalse(is_complete({"sub": "1"}, PROVIDER))
        self.assertTrue(is_complete({"email": "", "email_verified": True}, PROVIDER))
        self.assertFalse(
            is_complete({"email": "", "email_verified": True}, evolve(PROVIDER, group_sync=True))
        )
        more = {"sub": "1", "email": "ann@example.org", "email_verified": True}
        self.assertEqual(complete({"sub": "1"}, more), more)
        self.assertRaises(SignOnRefused, complete, {"sub": "2"}, more)
        self.assertRaises(SignOnRefused, complete, {"sub": "2"}, {})
        found = complete({"sub": "1", "email": "root@example.org"}, more)
        self.assertNotIn("email_verified", found)


class GroupTests(SynchronousTestCase):
    """What groups give and take."""

    slugs = {"red": "t1", "blue": "t2", "green": "t3"}

    def wanted(self, groups: set[str], now: Memberships, *rules: GroupRule, **changes: Any) -> Memberships:
        provider = evolve(PROVIDER, **{"group_sync": True, "groups": rules, **changes})
        return wanted_memberships(provider, frozenset(groups), self.slugs, now)

    def test_off(self) -> None:
        """Without synchronisation nothing changes."""
        now = Memberships("org_admin", {"t1": "member"}, frozenset({"t1"}))
        self.assertEqual(self.wanted({"blue"}, now, group_sync=False), now)

    def test_by_name(self) -> None:
        """Without rules a group is the team of its name; what groups gave goes, what people gave stays."""
        now = Memberships("member", {"t1": "team_admin", "t2": "member"}, frozenset({"t2"}))
        after = self.wanted({"red", "green", "unknown"}, now)
        self.assertEqual(after.teams, {"t1": "team_admin", "t3": "member"})
        self.assertEqual(after.given, {"t3"})
        self.assertEqual(self.wanted(set(), after).teams, {"t1": "team_admin"})

    def test_rules_for_teams(self) -> None:
        """Rules decide alone over the teams that they name; the highest role counts."""
        rules = (GroupRule("r", team="red"), GroupRule("chiefs", team="red", team_role="team_admin"))
        now = Memberships("member", {"t1": "team_admin", "t2": "member"})
        self.assertEqual(self.wanted({"r"}, now, *rules).teams, {"t1": "member", "t2": "member"})
        self.assertEqual(self.wanted({"r", "chiefs"}, now, *rules).teams["t1"], "team_admin")
        self.assertEqual(self.wanted(set(), now, *rules).teams, {"t2": "member"})
        self.assertEqual(self.wanted({"blue"}, Memberships("member", {}), *rules).teams, {})

    def test_a_rule_that_is_gone(self) -> None:
        """What a group gave by a rule that is no more goes as well."""
        now = Memberships("member", {"t1": "member"}, frozenset({"t1"}))
        self.assertEqual(self.wanted({"r"}, now, GroupRule("r", team="blue")).teams, {"t2": "member"})

    def test_roles(self) -> None:
        """A rule for a role gives it and takes it; without one the role stays what it is."""
        admin = GroupRule("admins", role="org_admin")
        self.assertEqual(self.wanted({"admins"}, Memberships("member", {}), admin).role, "org_admin")
        self.assertEqual(self.wanted(set(), Memberships("org_admin", {}), admin).role, "member")
        self.assertEqual(self.wanted(set(), Memberships("org_admin", {})).role, "org_admin")
        self.assertEqual(self.wanted(set(), Memberships(None, {})).role, "member")
