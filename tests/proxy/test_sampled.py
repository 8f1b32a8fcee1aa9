"""What the gateway adds, as the kernel saw it: on real sockets, and a reactor that runs when it is told.

The kernel's clock cannot be moved, so these tests let a little of it pass.
"""

from __future__ import annotations

import socket
import ssl
import time
from types import SimpleNamespace
from typing import Any, Callable

from twisted.internet.epollreactor import EPollReactor
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.http.certs import Authority, ServerTLS
from tests.http.rawserver import real_world
from tests.proxy.rig import DONE, STREAM_HEAD, Rig, chunk, event, json_reply
from tests.proxy.test_timing import REPLY, Added
from voidllm.http import polling, stamps
from voidllm.http.sampling import Probe
from voidllm.http.treq_engine import TreqEngine

#: How long bytes lie where they are looked for, and what may pass besides.
LIE_S, ELSE_S = 0.050, 0.045
BODY = {"model": "m", "messages": []}


class Seconds(Added):
    """Keeps seconds as they are, and has something happen at the upstream's reply."""

    def __init__(self) -> None:
        super().__init__()
        self.at_reply: Callable[[], Any] = lambda: None

    def added(self, stream: bool, seconds: float) -> None:
        """Keep it."""
        self.seen.append((stream, seconds))  # type: ignore[arg-type]

    def upstream_response(self, model: str, provider: str, status: int) -> None:
        """Do it."""
        self.at_reply()


class SampledCase(SynchronousTestCase):
    """A front, a pool, and sockets of the test's own at both ends."""

    tls: ServerTLS | None = None

    def setUp(self) -> None:
        """Listen; nothing happens before :meth:`until`."""
        self.reactor = EPollReactor()
        assert polling.install(self.reactor)
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        self.listener = listener
        self.rig = Rig(real_world(self.reactor), listener.getsockname()[1])
        self.metrics = self.rig.core.metrics = Seconds()
        self.front = self.rig.front
        factory: Any = self.front
        if self.tls is not None:
            factory = TLSMemoryBIOFactory(self.tls, False, self.front, clock=self.reactor)
        self.port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        watched = polling.before_read_of(self.reactor)
        assert watched is not None
        self.watched = watched
        self.peer: socket.socket | None = None
        self.addCleanup(self.close)
        # The kernel begins to stamp a moment after it was asked to.
        self.until(self.stamping)

    def close(self) -> None:
        """End everything; nothing is watched, and no timer is left."""
        self.port.stopListening()
        self.front.abort_all()
        self.rig.pool.close()
        self.until(lambda: not self.front.connections and not self.rig.pool.open)
        if self.peer is not None:
            self.peer.close()
        self.assertEqual(self.watched, {})
        for late in self.reactor.getDelayedCalls():
            late.cancel()
        self.reactor.removeAll()
        self.reactor._poller.close()

    def stamping(self) -> bool:
        """Say whether the kernel stamps."""
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as client,
            server.accept()[0] as got,
        ):
            got.setsockopt(socket.SOL_SOCKET, stamps._TIMESTAMPNS, 1)
            client.send(b"x")
            return bool(got.recvmsg(1, 64)[1])

    def turn(self) -> None:
        """Have the reactor do what there is to do."""
        self.reactor.iterate(0.001)

    def until(self, true: Callable[[], Any]) -> None:
        """Have the reactor go on until something is so."""
        end = time.monotonic() + 10
        while not true():
            self.assertLess(time.monotonic(), end, "it does not come about")
            self.turn()

    def client(self) -> socket.socket:
        """Connect."""
        before = len(self.front.connections)
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        client.settimeout(5)
        # Else its kernel holds a second piece back until the first was read.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(client.close)
        self.until(lambda: len(self.front.connections) > before)
        return client

    def lie(self) -> None:
        """Let bytes lie where they are."""
        time.sleep(LIE_S)

    def asked(self) -> socket.socket:
        """Have the gateway ask the upstream; give the upstream's end, the request read."""
        if self.peer is None:
            self.listener.setblocking(False)
            self.until(self._accepted)
            assert self.peer is not None
        self.peer.setblocking(False)
        self.until(lambda: self._got(self.peer, b"{"))
        return self.peer

    def _accepted(self) -> bool:
        try:
            self.peer = self.listener.accept()[0]
        except BlockingIOError:
            return False
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return True

    def _got(self, end: Any, what: bytes) -> bool:
        try:
            return what in end.recv(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False

    def answered(self, client: socket.socket, what: bytes = b"HTTP/1.1 200") -> None:
        """Have the reply come to the client."""
        client.setblocking(False)
        self.until(lambda: self._got(client, what))
        client.settimeout(5)

    def exchange(self, client: socket.socket) -> None:
        """Do a request, as fast as it goes."""
        client.send(self.rig.request(BODY))
        self.asked().send(json_reply(REPLY))
        self.answered(client)

    def near(self, wanted_s: float) -> None:
        """Assert that one request was counted, with about so many seconds."""
        ((_, found_s),) = self.metrics.seen
        self.assertTrue(wanted_s <= found_s < wanted_s + ELSE_S, found_s)


class MomentTests(SampledCase):
    """What is counted begins and ends with the kernel."""

    def test_the_clients_bytes(self) -> None:
        """Bytes that wait for the gateway to read them wait because of it."""
        client = self.client()
        client.send(self.rig.request(BODY))
        self.lie()
        self.asked().send(json_reply(REPLY))
        self.answered(client)
        self.near(LIE_S)

    def test_the_upstreams_time(self) -> None:
        """What the upstream takes does not count; that its reply is not read at once does."""
        client = self.client()
        client.send(self.rig.request(BODY))
        peer = self.asked()
        self.lie()
        peer.send(json_reply(REPLY))
        self.answered(client)
        self.near(0)
        self.metrics.seen.clear()
        self.front.sampling.left = 1
        self.exchange(client)
        client.send(self.rig.request(BODY))
        self.asked().send(json_reply(REPLY))
        self.lie()
        self.answered(client)
        self.near(LIE_S)

    def test_the_replys_departure(self) -> None:
        """The time goes on until the reply has left, and no longer."""
        outbox = polling.outbox_of(self.reactor)
        assert outbox is not None

        def waits() -> None:
            outbox.add(SimpleNamespace(flush=self.lie))
            self.reactor.callLater(0, self.lie)

        self.metrics.at_reply = waits
        self.exchange(self.client())
        self.near(LIE_S)

    def test_a_body_in_pieces(self) -> None:
        """A client that sends slowly takes its own time, until its last byte is there."""
        client = self.client()
        request = self.rig.request(BODY)
        client.send(request[:-5])
        self.until(lambda: self.front.in_flight)
        self.lie()
        client.send(request[-5:])
        self.lie()
        self.asked().send(json_reply(REPLY))
        self.answered(client)
        self.near(LIE_S)

    def test_a_stream(self) -> None:
        """A stream counts until its first event has left, on either engine; the client's side does too."""
        client = self.client()
        for engine in (self.rig.pool, TreqEngine(self.rig.pool)):
            self.rig.core.stream_pool = engine
            self.rig.core.forget_routes()
            client.send(self.rig.request({**BODY, "stream": True}))
            self.lie()
            peer = self.asked()
            peer.send(STREAM_HEAD)
            self.turn()
            self.lie()
            peer.send(chunk(event("a")))
            self.answered(client)
            self.near(LIE_S)
            self.assertEqual(self.metrics.seen[0][0], True)
            self.lie()
            peer.send(chunk(DONE) + b"0\r\n\r\n")
            self.answered(client, b"0\r\n\r\n")
            self.assertEqual(len(self.metrics.seen), 1)
            self.metrics.seen.clear()
            self.front.sampling.left = 1
            self.exchange(client)

    def test_clock_set(self) -> None:
        """A stamp that cannot be true gives no figure."""
        self.patch(stamps, "wall_ns", lambda: 0)
        self.exchange(self.client())
        self.assertEqual(self.metrics.seen, [])

    def test_no_stamp(self) -> None:
        """Neither does one that is missing where there should be one."""
        self.patch(stamps, "_PEEK", socket.MSG_PEEK | socket.MSG_OOB)
        self.exchange(self.client())
        self.assertEqual(self.metrics.seen, [])

    def test_other_systems(self) -> None:
        """Where there are none at all, the clock stands in: what lies in the kernel is not seen."""
        self.patch(stamps, "sys", SimpleNamespace(platform="other"))
        client = self.client()
        self.assertEqual(self.watched, {})
        client.send(self.rig.request(BODY))
        self.lie()
        self.asked().send(json_reply(REPLY))
        self.answered(client)
        self.near(0)


class TLSTests(SampledCase):
    """Under TLS the connection below is watched."""

    def setUp(self) -> None:
        """Have a certificate."""
        authority = Authority(self.mktemp())
        self.tls = ServerTLS(*authority.issue("127.0.0.1"))
        self.context = ssl.create_default_context(cafile=authority.ca_file)
        super().setUp()

    def test_the_clients_bytes(self) -> None:
        """Encrypted bytes that wait count as others do."""
        client = self.context.wrap_socket(
            self.client(), do_handshake_on_connect=False, server_hostname="127.0.0.1"
        )
        client.setblocking(False)
        self.until(lambda: self.shaken(client))
        client.send(self.rig.request(BODY))
        self.lie()
        self.asked().send(json_reply(REPLY))
        self.answered(client)
        self.near(LIE_S)

    def shaken(self, client: ssl.SSLSocket) -> bool:
        """Go on with the handshake."""
        try:
            client.do_handshake()
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        return True


class ChoiceTests(SampledCase):
    """Which requests are followed."""

    def test_every_sixteenth(self) -> None:
        """The first is, and then exactly each sixteenth of a connection that is alone."""
        client = self.client()
        found = []
        for number in range(49):
            self.exchange(client)
            if self.metrics.seen:
                found.append(number)
                self.metrics.seen.clear()
        self.assertEqual((found, self.front.sampling.left), ([0, 16, 32, 48], 15))

    def test_several_connections(self) -> None:
        """As many are among several, whose requests come in turn."""
        clients = [self.client(), self.client(), self.client()]
        for number in range(48):
            self.exchange(clients[number % 3])
        self.assertEqual(len(self.metrics.seen), 3)

    def test_new_connections(self) -> None:
        """Clients that connect for each request have their turn."""
        for _ in range(33):
            client = self.client()
            self.exchange(client)
            client.close()
            self.until(lambda: not self.front.connections)
        self.assertEqual(len(self.metrics.seen), 3)

    def test_those_that_leave(self) -> None:
        """A connection that closes without a request gives its turn to the next."""
        first = self.client()
        self.assertEqual((len(self.watched), self.front.sampling.left), (1, 16))
        first.close()
        self.until(lambda: not self.front.connections)
        self.assertEqual((self.watched, self.front.sampling.left), ({}, 0))
        self.exchange(self.client())
        self.assertEqual(len(self.metrics.seen), 1)

    def test_leaving_in_the_middle(self) -> None:
        """Neither end of a request is watched any more when its client has left."""
        client = self.client()
        client.send(self.rig.request(BODY))
        self.asked()
        self.assertEqual(len(self.watched), 2)
        client.close()
        self.until(lambda: not self.front.connections)
        self.assertEqual((self.watched, self.metrics.seen), ({}, []))

    def test_leaving_at_once(self) -> None:
        """Nor is the upstream's when the request to it leaves after its client has."""
        outbox = polling.outbox_of(self.reactor)
        assert outbox is not None
        self.exchange(self.client())
        (connection,) = self.front.connections
        probe = Probe(self.reactor, connection.transport)
        outbox.add(SimpleNamespace(flush=lambda: None))
        probe.wanted(connection.transport)
        self.assertEqual(len(self.watched), 1)
        probe.end()
        outbox.flush()
        self.assertEqual(self.watched, {})

    def test_pipelined(self) -> None:
        """What was read before it was due is not followed; the turn is another's."""
        client = self.client()
        self.exchange(client)
        self.front.sampling.left = 1
        client.send(self.rig.request(BODY) * 2)
        for _ in range(2):
            self.asked().send(json_reply(REPLY))
            self.answered(client)
        self.assertEqual(len(self.metrics.seen), 1)
        self.exchange(client)
        self.assertEqual((len(self.metrics.seen), self.watched), (2, {}))

    def test_refused(self) -> None:
        """A request that was not admitted has had its turn, and is not counted; nor is nonsense."""
        client = self.client()
        client.send(self.rig.request({"model": "other"}))
        self.answered(client, b"HTTP/1.1 404")
        self.assertEqual((self.watched, self.front.sampling.left), ({}, 15))
        self.front.sampling.left = 0
        client = self.client()
        client.send(b"nonsense\r\n\r\n")
        self.answered(client, b"HTTP/1.1 400")
        self.assertEqual((self.watched, self.front.sampling.left), ({}, 0))
        self.assertEqual(self.metrics.seen, [])

    def test_drained(self) -> None:
        """A connection that waits for its turn is closed by a drain as any other; none is told after it."""
        client = self.client()
        self.exchange(client)
        self.front.sampling.left = 1
        self.exchange(client)
        self.assertEqual(len(self.watched), 1)
        self.front.drain()
        self.until(lambda: not self.front.connections)
        self.assertEqual((self.watched, client.recv(1)), ({}, b""))

    def test_end_of_the_front(self) -> None:
        """The kernel is asked to stamp for as long as the front listens."""
        kept: Any = self.front.sampling._stamping
        self.assertNotEqual(kept._socket.fileno(), -1)
        self.port.stopListening()
        self.until(lambda: kept._socket is None)
