"""Names to addresses."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import defer
from twisted.trial.unittest import SynchronousTestCase

from tests.sim import SimReactor, sim_world
from voidllm.core.world import World
from voidllm.http.resolve import Resolver, is_address, system_lookup


class ResolverTests(SynchronousTestCase):
    """A resolver whose lookups the test answers."""

    def setUp(self) -> None:
        """Make it."""
        self.reactor = SimReactor()
        self.asked: list[tuple[str, defer.Deferred[list[str]]]] = []

        def in_thread(f: Any, host: str) -> defer.Deferred[list[str]]:
            waiter: defer.Deferred[list[str]] = defer.Deferred()
            self.asked.append((host, waiter))
            return waiter

        self.resolver = Resolver(World(reactor=self.reactor, in_thread=in_thread))
        self.answers: list[Any] = []

    def ask(self, host: str) -> Any:
        """Ask for a name."""
        return self.resolver.resolve(host, self.answers.append, lambda: self.answers.append(None))

    def test_addresses_need_no_lookup(self) -> None:
        """Addresses are answered at once."""
        self.ask("192.0.2.1")
        self.ask("2001:db8::1")
        self.assertEqual((self.answers, self.asked), ([["192.0.2.1"], ["2001:db8::1"]], []))
        self.assertFalse(is_address("example.com"))

    def test_remembered_for_thirty_seconds(self) -> None:
        """An answer is used again for thirty seconds and not longer."""
        self.ask("a.example")
        self.asked[0][1].callback(["192.0.2.1"])
        self.reactor.advance(29.9)
        self.ask("a.example")
        self.assertEqual((len(self.asked), self.answers), (1, [["192.0.2.1"]] * 2))
        self.reactor.advance(0.2)
        self.ask("a.example")
        self.assertEqual(len(self.asked), 2)

    def test_one_lookup_for_many(self) -> None:
        """Everyone who asks meanwhile gets the one answer, but for those who lost interest."""
        self.ask("a.example")
        forget = self.ask("a.example")
        self.ask("a.example")
        forget()
        self.asked[0][1].callback(["192.0.2.1"])
        self.assertEqual((len(self.asked), len(self.answers)), (1, 2))

    def test_failures_are_not_remembered(self) -> None:
        """A name that was not found, or has no address, is asked for again."""
        self.ask("a.example")
        self.asked[0][1].errback(socket.gaierror(1, "no"))
        self.ask("a.example")
        self.asked[1][1].callback([])
        self.ask("a.example")
        self.assertEqual((len(self.asked), self.answers), (3, [None, None]))

    def test_few_addresses(self) -> None:
        """A name with very many addresses is cut short."""
        self.ask("a.example")
        self.asked[0][1].callback([f"192.0.2.{n}" for n in range(100)])
        self.assertEqual(len(self.answers[0]), 4)

    def test_bounded(self) -> None:
        """The memory for names is bounded."""
        resolver = Resolver(sim_world(self.reactor), lambda host: ["192.0.2.1"])
        for n in range(3000):
            resolver.resolve(f"h{n}.example", lambda _: None, lambda: None)
        self.assertLessEqual(len(resolver._known), 1024)

    def test_system(self) -> None:
        """The system knows this machine."""
        self.assertIn("127.0.0.1", system_lookup("127.0.0.1"))

    def test_families_alternate(self) -> None:
        """One broken family cannot use up all attempts."""

        def getaddrinfo(host: str, port: None, type: int) -> list[Any]:
            six = [(socket.AF_INET6, 1, 6, "", (f"2001:db8::{n}", 0, 0, 0)) for n in range(1, 4)]
            return [*six, (socket.AF_INET, 1, 6, "", ("192.0.2.1", 0)), six[0]]

        self.patch(socket, "getaddrinfo", getaddrinfo)
        self.assertEqual(system_lookup("x"), ["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"])
