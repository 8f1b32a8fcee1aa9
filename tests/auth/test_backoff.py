"""How long whoever fails must wait."""

from __future__ import annotations

import hashlib
from typing import Mapping

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.auth.backoff import (
    ACCOUNT,
    ADDRESS,
    PAIR,
    Rule,
    Subjects,
    decide,
    network_of,
    subjects_of,
    wait_ms,
)
from voidllm.store.login_attempts import KEPT_MS, Tally

NOW = 1_795_516_200_000
S = Subjects("account", "address", "pair")
_TALLY = st.builds(
    Tally,
    failures=st.integers(0, 10_000),
    since_ms=st.integers(NOW - KEPT_MS, NOW),
    last_ms=st.integers(NOW - KEPT_MS, NOW),
    good_ms=st.none() | st.integers(NOW - KEPT_MS, NOW),
)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Waiting(SynchronousTestCase):
    """The rules by themselves, and together."""

    def test_doubling(self) -> None:
        """The delay doubles from a second up to the bound of its rule."""
        rule = Rule(free=2, longest_ms=10_000, forgotten_ms=60_000)
        delays = [rule.delay_ms(Tally(number, 0, NOW), NOW) for number in range(9)]
        self.assertEqual(delays, [0, 0, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000])
        self.assertEqual(rule.delay_ms(Tally(10**9, 0, NOW), NOW), 10_000)

    def test_forgetting(self) -> None:
        """After a quiet time failures count no more."""
        self.assertGreater(PAIR.delay_ms(Tally(9, 0, NOW - 24 * 3_600_000 + 1), NOW), 0)
        self.assertEqual(PAIR.delay_ms(Tally(9, 0, NOW - 24 * 3_600_000), NOW), 0)

    def test_a_known_address_does_not_wait_for_others(self) -> None:
        """However hot an account is, an address that it was used from does not wait for that."""
        hot = Tally(10_000, NOW, NOW)
        known = {"account": hot, "pair": Tally(0, NOW, NOW, NOW - KEPT_MS + 1)}
        self.assertEqual(wait_ms(S, known, NOW), 0)
        long_ago = {"account": hot, "pair": Tally(0, NOW - KEPT_MS, NOW, NOW - KEPT_MS)}
        self.assertEqual(wait_ms(S, long_ago, NOW), 30_000)
        self.assertEqual(wait_ms(S, {"account": hot}, NOW), 30_000)

    @given(st.dictionaries(st.sampled_from(S.all), _TALLY))
    def test_bounds(self, found: Mapping[str, Tally]) -> None:
        """No wait is negative or longer than the longest of the rules."""
        self.assertLessEqual(wait_ms(S, found, NOW), PAIR.longest_ms)
        self.assertGreaterEqual(wait_ms(S, found, NOW), 0)

    @given(_TALLY, st.integers(0, 40_000))
    def test_others_never_make_it_longer_than_half_a_minute(self, account: Tally, ago_ms: int) -> None:
        """Of somebody's first attempt the wait is over after 30 s, whatever others did to the account."""
        found = {"account": account, "pair": Tally(0, NOW - ago_ms, NOW - ago_ms)}
        self.assertLessEqual(wait_ms(S, found, NOW), max(0, 30_000 - ago_ms))

    def test_the_count(self) -> None:
        """An attempt adds one to each count that still counts."""
        found = {
            "account": Tally(3, 0, NOW),
            "address": Tally(9, 0, NOW - 3_600_000),
            "pair": Tally(0, NOW, NOW),
        }
        self.assertEqual(decide(S, NOW)(found), (0, {"account": 4, "address": 1, "pair": 1}))
        self.assertGreater(ACCOUNT.free, PAIR.free)
        self.assertGreater(ADDRESS.free, ACCOUNT.free)


class WhoIsMeant(SynchronousTestCase):
    """What attempts count for."""

    def test_digests(self) -> None:
        """Case and blanks around an address make no other account; nothing of it can be read."""
        one = subjects_of(_digest, " Ada@Example.org", "192.0.2.1")
        self.assertEqual(one, subjects_of(_digest, "ada@example.org", "192.0.2.1"))
        other = subjects_of(_digest, "ada@example.org", "192.0.2.2")
        self.assertEqual((one.account == other.account, one.address == other.address), (True, False))
        self.assertNotEqual(one.pair, other.pair)
        self.assertEqual(len({*one.all, *other.all}), 5)
        self.assertTrue(all(len(subject) == 64 for subject in one.all))

    def test_networks(self) -> None:
        """An IPv4 address is one client, of IPv6 a /64; what is no address is one as well."""
        self.assertEqual(network_of("192.0.2.1"), "192.0.2.1")
        self.assertEqual(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::")
        self.assertEqual((network_of(""), network_of("x")), ("", ""))

    @given(st.text(), st.text())
    def test_anything(self, email: str, address: str) -> None:
        """Whatever is typed counts for something."""
        self.assertEqual(len(subjects_of(_digest, email, address).all), 3)
