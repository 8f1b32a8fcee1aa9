"""Networks that API keys are confined to."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.networks import inside, narrower, parse_network

_V4 = st.builds(
    lambda number, prefix: str(ipaddress.ip_network((number, prefix), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
_ADDRESS = st.one_of(
    st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address),
    st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address),
)


class Networks(SynchronousTestCase):
    def test_networks_are_kept_in_one_form(self) -> None:
        """One network has one text, and IPv4 that is written as IPv6 is IPv4."""
        for given_, kept in (
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.7", "10.0.0.7/32"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ):
            self.assertEqual(parse_network(given_), kept)
        for wrong in ("", "10.0.0.1/8", "10.0.0.0/33", "x", "fe80::1%eth0", " 10.0.0.0/8", "10.0.0.0/8/8"):
            self.assertRaises(ValueError, parse_network, wrong)

    def test_what_is_no_address_is_nowhere(self) -> None:
        """An address that is empty or cannot be read is in no network, however wide."""
        for client in ("", "somebody", "10.0.0.1:80"):
            self.assertFalse(inside(("0.0.0.0/0", "::/0"), client))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(_V4, min_size=1, max_size=3), st.lists(_V4, min_size=1, max_size=3), _ADDRESS)
    def test_narrower_networks_let_in_nobody_else(
        self, inner: list[str], outer: list[str], address: ipaddress.IPv4Address
    ) -> None:
        """An address that is in narrower networks is in the wider ones too."""
        if narrower(inner, outer) and inside(tuple(inner), str(address)):
            self.assertTrue(inside(tuple(outer), str(address)))
        self.assertTrue(narrower(inner, inner))
