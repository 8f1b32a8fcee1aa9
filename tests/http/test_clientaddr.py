"""Client addresses behind trusted and untrusted proxies."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import ujson
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http.memory import Connected, memory_front
from tests.http.wire import Echo, get
from voidllm.http.clientaddr import TrustedProxies, plain_address

NETWORKS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


class ClientAddress(SynchronousTestCase):
    """TrustedProxies and its use on the front."""

    def test_rightmost_untrusted(self) -> None:
        """The rightmost address that is no trusted proxy counts, in every spelling."""
        trusted = TrustedProxies(NETWORKS)
        for forwarded, expected in [
            ([], "10.0.0.1"),
            ([b"203.0.113.5"], "203.0.113.5"),
            ([b"1.1.1.1, 203.0.113.5"], "203.0.113.5"),
            ([b"203.0.113.5, 10.1.1.1"], "203.0.113.5"),
            ([b"6.6.6.6", b"203.0.113.5 ,\t10.1.1.1"], "203.0.113.5"),
            ([b"10.2.2.2, 10.1.1.1"], "10.2.2.2"),
            ([b"203.0.113.5:1234"], "203.0.113.5"),
            ([b"[2001:db8::1]:443"], "2001:db8::1"),
            ([b"2001:DB8::1"], "2001:db8::1"),
            ([b"::ffff:203.0.113.5"], "203.0.113.5"),
            ([b"1.1.1.1, unknown"], "10.0.0.1"),
            ([b"1.1.1.1, unknown, 10.1.1.1"], "10.1.1.1"),
            ([b"fe80::1%eth0"], "10.0.0.1"),
            ([b""], "10.0.0.1"),
            ([b"1.1.1.1, "], "10.0.0.1"),
        ]:
            assert trusted.client("10.0.0.1", forwarded) == expected, forwarded

    def test_trust(self) -> None:
        """Trust depends on the connection's peer."""
        trusted = TrustedProxies(NETWORKS)
        assert trusted.trusts("10.3.4.5")
        assert trusted.trusts("::ffff:10.3.4.5")
        assert trusted.trusts("fd00::7")
        assert not trusted.trusts("192.0.2.1")
        assert not trusted.trusts("nonsense")
        assert not TrustedProxies().trusts("10.3.4.5")
        assert plain_address("::ffff:10.3.4.5") == "10.3.4.5"
        assert plain_address("2001:db8::1") == "2001:db8::1"

    @settings(max_examples=100)
    @given(st.lists(st.binary(max_size=40), max_size=5))
    def test_anything(self, forwarded: list[bytes]) -> None:
        """Whatever the field holds, an address comes out."""
        ip_address(TrustedProxies(NETWORKS).client("10.0.0.1", forwarded))

    def test_on_the_front(self) -> None:
        """A trusted peer's field is used, anybody else's is not."""
        _, factory = memory_front(Echo(), trusted_proxies=NETWORKS)
        for peer, expected in [("10.0.0.1", "203.0.113.5"), ("192.0.2.7", "192.0.2.7")]:
            connection = Connected(factory, peer)
            connection.feed(get(b"/v1/a", b"X-Forwarded-For: 203.0.113.5"))
            assert ujson.loads(connection.replies()[0].body)["client"] == expected
            connection.leave()
