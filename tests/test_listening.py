"""What people are told about where the gateway listens, and at its first start."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.harness import Gateway
from voidllm.bootstrap import FirstCredentials
from voidllm.config.load import parse_config
from voidllm.listening import CannotListen, listen, listen_often, url
from voidllm.welcome import welcome

FIRST = FirstCredentials("vl_uk_x", "admin@example.org", "secret")


class Urls(SynchronousTestCase):
    def test_forms(self) -> None:
        """Addresses become URLs; for a client on this machine, "everywhere" becomes one of its addresses."""
        everywhere = IPv4Address("TCP", "0.0.0.0", 80)
        self.assertEqual(url(everywhere, False), "http://0.0.0.0:80")
        self.assertEqual(url(everywhere, True, True), "https://127.0.0.1:80")
        self.assertEqual(url(IPv6Address("TCP", "::", 8), False, True), "http://[::1]:8")
        self.assertIsNone(url(UNIXAddress(b"/run/x"), False))


class ListeningOften(SynchronousTestCase):
    """One address for several processes."""

    def _listen(self, description: str, count: int = 2) -> list[tuple[Any, ...]]:
        sockets = listen_often(description, count)
        for one in sockets:
            self.addCleanup(one.close)
        return [one.getsockname() for one in sockets]

    def test_same_address(self) -> None:
        """All listen on the same port, which the first one chose."""
        first, second = self._listen("tcp:0:interface=127.0.0.1:backlog=9")
        self.assertEqual(first, second)
        self.assertEqual(first[0], "127.0.0.1")
        (third,) = self._listen("tcp6:0:interface=\\:\\:1", 1)
        self.assertEqual(third[0], "::1")

    def test_refused(self) -> None:
        """Other endpoints, ports that are none and ports in use are refused by name."""
        with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
            in_use = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            for wrong, why in (("unix:/run/x", "TCP only"), ("tcp:99999", "65535"), (in_use, "is in use")):
                with self.assertRaises(CannotListen) as caught:
                    self._listen(wrong)
                self.assertIn(why, str(caught.exception))


class Listening(TestCase):
    async def _why(self, description: str) -> str:
        with self.assertRaises(CannotListen) as caught:
            await listen(reactor, description, Factory())
        return str(caught.exception)

    async def test_a_port_in_use(self) -> None:
        """The port is named, and what to do."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            why = await self._why(f"tcp:{port}:interface=127.0.0.1")
        self.assertIn(f"port {port} of 127.0.0.1 is in use", why)
        self.assertIn("--listen", why)

    async def test_an_address_of_another_machine(self) -> None:
        """The address is named."""
        self.assertIn("192.0.2.1 is no address of this machine", await self._why("tcp:0:interface=192.0.2.1"))

    async def test_what_is_no_endpoint(self) -> None:
        """What was given and an example are named."""
        for wrong in ("8080", "tcp:many", "tcp:99999", "nonsense:1"):
            why = await self._why(wrong)
            self.assertIn(repr(wrong), why)
            self.assertIn("tcp:8080", why)


class Welcome(SynchronousTestCase):
    def test_a_model_that_answers_by_itself_is_preferred(self) -> None:
        """The command names the demo model, under whatever name, and is safe in a shell."""
        config = parse_config(
            """
            models:
              - {name: real, provider: vllm, base_url: "http://127.0.0.1:1/v1"}
              - {name: it's, provider: demo}
            """,
            {},
            "x",
        )
        text = welcome(FIRST, "/s/first.json", config, "https://127.0.0.1:9")
        for said in ("/s/first.json", "https://127.0.0.1:9/v1/chat", "Bearer vl_uk_x", """"it'"'"'s","""):
            self.assertIn(said, text)

    def test_no_model(self) -> None:
        """Without a model there is nothing to try, and the text says so."""
        text = welcome(FIRST, "/s/first.json", parse_config("", {}, "x"), "http://127.0.0.1:9")
        self.assertNotIn("curl", text)
        self.assertIn("No chat model", text)


class Starting(SynchronousTestCase):
    """A gateway that cannot start says why in one line."""

    def _fails(self, gateway: Gateway) -> str:
        self.addCleanup(gateway.kill)
        gateway.launch()
        self.assertEqual(gateway.wait(), 1)
        log = gateway.log.read_text()
        self.assertNotIn("Traceback", log)
        return log

    def test_port_in_use(self) -> None:
        """The port is named."""
        gateway = Gateway(self.mktemp())
        with socket.create_server(("127.0.0.1", gateway.port)):
            self.assertIn(f"port {gateway.port} of 127.0.0.1 is in use", self._fails(gateway))

    def test_state_folder_is_a_file(self) -> None:
        """The folder and its key are named."""
        gateway = Gateway(self.mktemp())
        gateway.state_dir.write_text("")
        self.assertIn(f"the state folder {gateway.state_dir} cannot be made", self._fails(gateway))

    def test_database_folder_is_missing(self) -> None:
        """The path is named."""
        missing = Path(self.mktemp()).absolute() / "x.db"
        gateway = Gateway(self.mktemp(), database={"driver": "sqlite", "dsn": str(missing)})
        self.assertIn(f"{missing}.lock cannot be opened", self._fails(gateway))
