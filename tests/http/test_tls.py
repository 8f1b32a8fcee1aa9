"""TLS to upstreams: who is believed, who is not."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.http.certs import Authority, ServerTLS
from tests.http.rawserver import RawServer, Recorder, ask, ok, real_world
from voidllm.core.model import UpstreamTLS
from voidllm.http.client_tls import TLSContexts, TLSFilesError, make_context
from voidllm.http.pool import UpstreamPool
from voidllm.http.pool_settings import PoolSettings
from voidllm.http.resolve import Resolver
from voidllm.http.upstream import Origin


class TLSTests(TestCase):
    """A pool against servers with certificates good and bad."""

    timeout = 15

    def setUp(self) -> None:
        """Make an authority; every name leads to this machine."""
        self.authority = Authority(self.mktemp())
        world = real_world(reactor)
        resolver = Resolver(world, lambda host: ["127.0.0.1"])
        self.pool = UpstreamPool(world, PoolSettings(tick_s=0.05), resolver=resolver)
        self.servers: list[RawServer] = []

    async def tearDown(self) -> None:
        """Nothing is left."""
        await self.pool.close()
        self.assertEqual((self.pool.open, self.pool.idle, self.pool.busy), (0, 0, 0))
        for server in self.servers:
            await server.stop()

    def serve(self, *hosts: str, client_ca: str | None = None, **more: Any) -> RawServer:
        """Start a server with a certificate for ``hosts``."""
        server = RawServer(reactor, ServerTLS(*self.authority.issue(*hosts, **more), client_ca))
        server.answer(ok(b"secret"))
        self.servers.append(server)
        return server

    async def fetch(self, server: RawServer, host: str, tls: UpstreamTLS | None = None) -> Recorder:
        """Send one call, trusting the authority unless told otherwise."""
        tls = tls or UpstreamTLS(ca_file=self.authority.ca_file)
        sink = Recorder()
        self.pool.call(ask(0, origin=Origin("https", host, server.port, tls)), sink)
        await sink.end()
        return sink

    def assert_refused(self, sink: Recorder, server: RawServer) -> None:
        """No byte of the request may have been sent."""
        self.assertEqual(sink.ended, "tls")
        assert sink.failure is not None
        self.assertFalse(sink.failure.sent)
        self.assertEqual([peer.received for peer in server.peers if peer.received], [])
        self.assertEqual(server.requests, [])

    async def test_right_name(self) -> None:
        """A certificate of a private authority for the right name is believed, and the connection kept."""
        server = self.serve("llm.example")
        for _ in range(2):
            sink = await self.fetch(server, "llm.example")
            self.assertEqual((sink.ended, sink.body), ("finished", b"secret"))
        self.assertEqual((len(server.peers), self.pool.reuses), (1, 1))

    async def test_address(self) -> None:
        """A certificate may be for an address."""
        sink = await self.fetch(self.serve("127.0.0.1"), "127.0.0.1")
        self.assertEqual(sink.ended, "finished")

    async def test_wrong_host(self) -> None:
        """A good certificate for another host is refused, name or address."""
        server = self.serve("other.example")
        for host in ("llm.example", "127.0.0.1", "a.other.example"):
            self.assert_refused(await self.fetch(server, host), server)

    async def test_no_name(self) -> None:
        """A certificate whose only name is its common name is refused."""
        server = self.serve(name="llm.example")
        self.assert_refused(await self.fetch(server, "llm.example"), server)

    async def test_expired(self) -> None:
        """An expired certificate is refused."""
        server = self.serve("llm.example", expired=True)
        self.assert_refused(await self.fetch(server, "llm.example"), server)

    async def test_self_signed(self) -> None:
        """A self-signed certificate is refused."""
        server = self.serve("llm.example", self_signed=True)
        self.assert_refused(await self.fetch(server, "llm.example"), server)

    async def test_unknown_authority(self) -> None:
        """The system's authorities do not know a private one."""
        server = self.serve("llm.example")
        self.assert_refused(await self.fetch(server, "llm.example", UpstreamTLS()), server)

    async def test_client_certificate(self) -> None:
        """A client certificate is shown; without it, or with a wrong one, the upstream refuses."""
        clients = Authority(self.mktemp(), "client authority")
        good = clients.issue("client", name="good")
        bad = self.authority.issue("client", name="bad")
        server = self.serve("llm.example", client_ca=clients.ca_file)
        ca_file = self.authority.ca_file
        sink = await self.fetch(server, "llm.example", UpstreamTLS(ca_file, *good))
        self.assertEqual(sink.ended, "finished")
        for tls in (UpstreamTLS(ca_file), UpstreamTLS(ca_file, *bad)):
            sink = await self.fetch(server, "llm.example", tls)
            self.assertEqual(sink.ended, "tls")
        self.assertEqual(len(server.requests), 1)

    async def test_session_is_resumed(self) -> None:
        """The second connection to an origin resumes the session of the first."""
        server = self.serve("llm.example")
        for _ in range(3):
            await self.fetch(server, "llm.example")
            for group in self.pool._groups.values():
                for connection in list(group.idle):
                    self.pool.drop_idle(connection)
            await server.peers[-1].lost()
        self.assertEqual((len(server.requests), server.tls.full_handshakes), (3, 1))

    async def test_no_session_across_contexts(self) -> None:
        """Once the files are to be read again, the next connection makes a full handshake."""
        server = self.serve("llm.example")
        for _ in range(2):
            await self.fetch(server, "llm.example")
            for group in self.pool._groups.values():
                for connection in list(group.idle):
                    self.pool.drop_idle(connection)
            await server.peers[-1].lost()
            self.pool.contexts.forget()
        self.assertEqual(server.tls.full_handshakes, 2)

    async def test_alpn(self) -> None:
        """HTTP/1.1 is negotiated where the server offers more."""
        server = self.serve("llm.example")
        context = server.tls.context
        offered: list[bytes] = []

        def select(connection: Any, protocols: list[bytes]) -> bytes:
            offered.extend(protocols)
            return protocols[0]

        context.set_alpn_select_callback(select)
        sink = await self.fetch(server, "llm.example")
        self.assertEqual((sink.ended, offered), ("finished", [b"http/1.1"]))

    async def test_not_tls(self) -> None:
        """A server that does not speak TLS is a TLS failure."""
        server = RawServer(reactor)
        self.servers.append(server)
        sink = Recorder()
        self.pool.call(ask(0, origin=Origin("https", "llm.example", server.port)), sink)
        peer = await server.accept()
        peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertEqual(await sink.end(), "tls")

    async def test_silent_handshake(self) -> None:
        """A handshake that takes too long is a connect timeout, and leaves no connection."""
        server = RawServer(reactor)
        self.servers.append(server)
        sink = Recorder()
        self.pool.call(
            ask(0, origin=Origin("https", "llm.example", server.port), connect_timeout_s=0.1), sink
        )
        peer = await server.accept()
        self.assertEqual(await sink.end(), "connect_timeout")
        await peer.lost()

    async def test_cancel_in_handshake(self) -> None:
        """A call cancelled during the handshake closes the connection."""
        server = RawServer(reactor)
        self.servers.append(server)
        sink = Recorder()
        call = self.pool.call(ask(0, origin=Origin("https", "llm.example", server.port)), sink)
        peer = await server.accept()
        await peer.until(lambda: peer.received)
        call.cancel()
        await peer.lost()
        self.assertEqual(sink.events, [])

    async def test_truncated_body(self) -> None:
        """A body that ends with the connection needs the closure alert: a bare end is a cut."""
        for clean, expected in ((True, "finished"), (False, "cut")):
            server = self.serve("llm.example")

            def script(peer: Any, head: bytes, body: bytes, clean: bool = clean) -> None:
                peer.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
                if clean:
                    peer.close()
                else:
                    peer.transport.transport.loseConnection()

            server.script = script
            sink = await self.fetch(server, "llm.example")
            self.assertEqual((sink.ended, sink.body), (expected, b"some"))

    async def test_bad_files(self) -> None:
        """Files that cannot be used fail the call, and name the setting only."""
        server = self.serve("llm.example")
        sink = await self.fetch(server, "llm.example", UpstreamTLS(ca_file="/nonexistent/secret"))
        self.assertEqual(sink.ended, "tls")
        self.assertNotIn("secret", repr(sink.failure))
        with self.assertRaises(TLSFilesError):
            make_context(UpstreamTLS(client_cert="/nonexistent"))

    def test_contexts_are_shared(self) -> None:
        """Equal settings share a context until the files are to be read again."""
        contexts = TLSContexts()
        tls = UpstreamTLS(ca_file=self.authority.ca_file)
        first = contexts.load(tls)
        self.assertIs(contexts.load(UpstreamTLS(ca_file=self.authority.ca_file)), first)
        contexts.forget()
        self.assertIsNone(contexts.get(tls))
        self.assertIsNot(contexts.load(tls), first)
