"""A proxy on a simulated network: real front, real pool, real gate, a scripted upstream.

The upstream is a list of bytes to send and moments to do so; the client is raw bytes too,
so that what is tested is what is on the wire.
"""

from __future__ import annotations

import json
import tempfile
from typing import Any

from twisted.internet.protocol import ClientFactory, Factory, Protocol

from tests.gate.support import KEY, ListJournal, principal
from tests.sim import SimReactor, sim_world
from voidllm.core.crypto import KeyDigester
from voidllm.core.model import Deployment, Model, Price
from voidllm.core.snapshot import Snapshot
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.usage import UsageEvent
from voidllm.gate.gate import Gate
from voidllm.http.front import FrontFactory
from voidllm.http.pool import UpstreamPool
from voidllm.limits.ledger import MemoryLimiter
from voidllm.proxy.core import ProxyCore
from voidllm.proxy.handler import ProxyHandler
from voidllm.proxy.inprocess import InProcessPool
from voidllm.proxy.metrics import NoMetrics
from voidllm.proxy.settings import ProxySettings
from voidllm.proxy.sweeper import StreamSweeper
from voidllm.routing.planner import InOrderPlanner

FRONT, UPSTREAM = 8080, 9000
PRICE = Price("config-1", input=1_000_000, output=2_000_000)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Frame one HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(text: str) -> bytes:
    """Make one chat event with some content."""
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"


def json_reply(value: Any, status: bytes = b"200 OK", extra: bytes = b"") -> bytes:
    """Frame a whole JSON reply."""
    body = json.dumps(value).encode()
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
    return head % (status, extra, len(body)) + body


class Peer(Protocol):
    """One connection of the upstream; remembers what it got."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.received = b""
        self.open = False

    def connectionMade(self) -> None:
        """Note it."""
        self.open = True
        self.upstream.peers.append(self)

    def dataReceived(self, data: bytes) -> None:
        """Answer by script once a whole request is here."""
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        if not blank:
            return
        lower = head.lower()
        if b"content-length: " in lower:
            length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(body) < length:
                return
        elif not body.endswith(b"0\r\n\r\n"):
            return
        self.upstream.requests.append((head, body))
        self.received = b""
        if self.upstream.on_request is not None:
            self.upstream.on_request(self)

    def send(self, data: bytes) -> None:
        """Send some bytes."""
        self.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        """Note it."""
        self.open = False


class Upstream(Factory):
    """The upstream; ``on_request(peer)`` is its script."""

    noisy = False

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.on_request: Any = None

    def buildProtocol(self, addr: Any) -> Peer:
        """Make a connection."""
        return Peer(self)

    def body(self, index: int = -1) -> Any:
        """Decode the JSON body of a request."""
        return json.loads(self.requests[index][1])


class Client(Protocol):
    """A raw client."""

    def __init__(self) -> None:
        self.received = b""
        self.open = False

    def connectionMade(self) -> None:
        """Note it."""
        self.open = True

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        """Note it."""
        self.open = False

    @property
    def status(self) -> int:
        """Status of the first reply."""
        return int(self.received.split(b" ", 2)[1])

    @property
    def body(self) -> bytes:
        """Body of the first reply, without chunk framing."""
        head, _, body = self.received.partition(b"\r\n\r\n")
        if b"chunked" not in head.lower():
            return body
        out = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            length = int(size, 16)
            if length == 0:
                return out
            out += rest[:length]
            body = rest[length + 2 :]
        return out + b"<cut>"

    def error(self) -> dict[str, Any]:
        """Decode the error of the first reply."""
        return dict(json.loads(self.body)["error"])


class Rig:
    """The whole arrangement, plus short words to use it.

    :param world: another world, in which ``upstream_port`` is somebody else's, and the front nobody's.
    """

    def __init__(self, world: Any = None, upstream_port: int = UPSTREAM, **settings: Any) -> None:
        self.reactor = SimReactor() if world is None else world.reactor
        self.world = world or sim_world(self.reactor)
        self.upstream = Upstream()
        self.journal = ListJournal()
        self.digester = KeyDigester(b"k" * 32)
        self.holder = SnapshotHolder()
        self.pool = UpstreamPool(self.world)
        self.limiter = MemoryLimiter()
        self.gate = Gate(self.world, self.holder, self.limiter, self.journal, self.digester)
        self.principal = principal()
        base_url = f"http://127.0.0.1:{upstream_port}/v1"
        deployment = Deployment("m", "m", "custom", base_url, "upstream-name", api_key="sk-up")
        self.models = {"m": Model("m", "chat", (deployment,), price=PRICE)}
        self.publish()
        self.core = ProxyCore(
            world=self.world,
            gate=self.gate,
            planner=InOrderPlanner(),
            pool=self.pool,
            stream_pool=self.pool,
            in_process=InProcessPool(self.reactor),
            metrics=NoMetrics(),
            settings=ProxySettings(spool_dir=tempfile.gettempdir(), **settings),
            sweeper=StreamSweeper(self.reactor),
        )
        self.handler = ProxyHandler(self.core, self.holder)
        self.front = FrontFactory(self.world, self.handler)
        if world is None:
            self.reactor.listenTCP(UPSTREAM, self.upstream)
            self.reactor.listenTCP(FRONT, self.front)

    def publish(self) -> None:
        """Make the snapshot of the current principal and models."""
        keys = {self.digester.digest(KEY.encode()): self.principal}
        self.holder.swap(Snapshot(self.holder.current.version + 1, keys, self.models))

    def connect(self) -> Client:
        """Open a client connection."""
        client = Client()
        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda _: client  # type: ignore[method-assign]
        self.reactor.connectTCP("127.0.0.1", FRONT, factory)
        self.spin(0.01)
        return client

    def request(self, body: Any, path: bytes = b"/v1/chat/completions", headers: bytes = b"") -> bytes:
        """Write one request."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%sContent-Length: %d\r\n\r\n"
        return head % (path, KEY.encode(), headers, len(raw)) + raw

    def send(self, body: Any, path: bytes = b"/v1/chat/completions", headers: bytes = b"") -> Client:
        """Send one request on its own connection."""
        client = self.connect()
        client.transport.write(self.request(body, path, headers))
        self.spin(0.05)
        return client

    def chat(self, **more: Any) -> Client:
        """Send one chat request."""
        return self.send({"model": "m", "messages": [{"role": "user", "content": "hello"}], **more})

    def spin(self, seconds: float = 0.05, step_s: float = 0.001) -> None:
        """Let time pass."""
        self.reactor.spin(seconds, step_s)

    @property
    def row(self) -> UsageEvent:
        """The only usage row."""
        assert len(self.journal.rows) == 1, self.journal.rows
        return self.journal.rows[0]

    def leftovers(self) -> list[Any]:
        """What should not be there when all is over: open connections and timers."""
        return [*self.reactor.open, *self.reactor.getDelayedCalls(), *self.core.live]
