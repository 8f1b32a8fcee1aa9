"""Keys, credentials and roles."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.auth.credentials import find_credential
from voidllm.auth.keys import PREFIXES, generate, hint, looks_like_key
from voidllm.auth.roles import RANKS, require, require_not_above, role_of_key
from voidllm.core.errors import Refusal

KEY = b"vl_uk_" + b"0a" * 24
OTHER = b"vl_tk_" + b"0b" * 24
Headers = list[tuple[bytes, bytes]]


class KeyTests(SynchronousTestCase):
    """What keys look like."""

    def test_generate(self) -> None:
        """A key is its kind's prefix and 48 hex digits."""
        for kind, prefix in PREFIXES.items():
            key = generate(kind, lambda n: b"\xab" * n)
            self.assertEqual(key, prefix + "ab" * 24)
            self.assertEqual(len(key), 54)
            self.assertTrue(looks_like_key(key.encode()))

    def test_hint(self) -> None:
        """A hint is the first six and last four characters; short texts are given back."""
        self.assertEqual(hint(KEY.decode()), "vl_uk_...0a0a")
        for text in ("", "123456789", "1234567890"):
            self.assertEqual(hint(text), text)
        self.assertEqual(hint("12345678901"), "123456...8901")

    def test_not_keys(self) -> None:
        """Other prefixes and other lengths are no keys."""
        for text in (b"", b"vl_uk_", KEY[:-1], KEY + b"0", b"sk-" + b"a" * 51, KEY.upper()):
            self.assertFalse(looks_like_key(text))


class CredentialTests(SynchronousTestCase):
    """The one key of a request."""

    def test_places(self) -> None:
        """A key is found in each of the three headers, whatever the scheme's case."""
        for name, value in (
            (b"authorization", b"Bearer " + KEY),
            (b"authorization", b"bEARER   " + KEY + b" "),
            (b"x-api-key", KEY),
            (b"api-key", b" " + KEY),
        ):
            self.assertEqual(find_credential([(b"host", b"h"), (name, value), (b"a", b"b")]), KEY)

    def _refused(self, *headers: tuple[bytes, bytes]) -> Refusal:
        refusal = self.assertRaises(Refusal, find_credential, list(headers))
        self.assertNotIn("0a0a", repr(refusal))
        return refusal

    def test_same_key_twice(self) -> None:
        """The same key in several places is one key."""
        headers = [(b"authorization", b"Bearer " + KEY), (b"x-api-key", KEY), (b"api-key", KEY)]
        self.assertEqual(find_credential(headers), KEY)

    def test_two_keys(self) -> None:
        """Two different keys are a 400, in whatever headers they are."""
        places: Headers = [(b"authorization", b"Bearer "), (b"x-api-key", b""), (b"api-key", b"")]
        for (one, before), (two, again) in itertools.product(places, repeat=2):
            refusal = self._refused((one, before + KEY), (two, again + OTHER))
            self.assertEqual((refusal.status, refusal.code), (400, "bad_request"))

    def test_other_scheme_beside_a_key(self) -> None:
        """A key beside another scheme's credentials is not chosen by guess."""
        refusal = self._refused((b"authorization", b"Basic Zm9vOmJhcg=="), (b"x-api-key", KEY))
        self.assertEqual(refusal.status, 400)

    def test_missing(self) -> None:
        """No credential is a 401 that says so."""
        refusal = self._refused((b"host", b"h"))
        self.assertEqual((refusal.status, refusal.code), (401, "unauthorized"))
        self.assertIn("missing", refusal.message)

    def test_malformed(self) -> None:
        """What is no key is a 401 of its own."""
        for value in (b"", b"Bearer", b"Bearer ", b"Bearer x", b"Basic " + KEY, KEY, b"Bearer" + KEY):
            refusal = self._refused((b"authorization", value))
            self.assertEqual((refusal.status, refusal.message), (401, "invalid API key format"))

    @given(st.lists(st.tuples(st.sampled_from([b"authorization", b"api-key", b"host"]), st.binary())))
    def test_any_bytes(self, headers: Headers) -> None:
        """Any bytes give a key or a refusal."""
        try:
            self.assertTrue(looks_like_key(find_credential(headers)))
        except Refusal as refusal:
            self.assertIn(refusal.status, (400, 401))


class RoleTests(SynchronousTestCase):
    """Who stands above whom."""

    def test_role_of_key(self) -> None:
        """Each kind of key gives its role, a user's by office and membership."""
        self.assertEqual(role_of_key("team_key", "t"), "team_admin")
        self.assertEqual(role_of_key("sa_key", "t"), "team_admin")
        self.assertEqual(role_of_key("sa_key"), "org_admin")
        self.assertEqual(role_of_key("user_key", system_admin=True, membership="member"), "system_admin")
        self.assertEqual(role_of_key("session_key", membership="org_admin"), "org_admin")
        self.assertEqual(role_of_key("user_key"), "member")
        self.assertEqual(role_of_key("user_key", membership="emperor"), "member")

    def test_require(self) -> None:
        """A role is enough for itself and for all below it; an unknown one for nothing."""
        order = ["member", "team_admin", "org_admin", "system_admin"]
        self.assertEqual(sorted(RANKS, key=RANKS.__getitem__), order)
        for (have, role), (need, least) in itertools.product(enumerate(order), repeat=2):
            if have >= need:
                require(role, least)
            else:
                self.assertEqual(self.assertRaises(Refusal, require, role, least).status, 403)
        self.assertRaises(Refusal, require, "emperor", "member")

    def test_never_above_oneself(self) -> None:
        """Nobody acts on a higher role, nor on one that is not known."""
        require_not_above("org_admin", "org_admin")
        self.assertRaises(Refusal, require_not_above, "team_admin", "org_admin")
        self.assertRaises(Refusal, require_not_above, "system_admin", "emperor")
        self.assertRaises(Refusal, require_not_above, "emperor", "member")
