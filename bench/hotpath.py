"""What one request costs the gateway's own code, without sockets: for whoever touches the hot path.

Everything between the client's bytes and the upstream's is real (front, gate, limits on key and
organisation, prices, journal on disk, metrics, pool); the two transports only keep what is written.
What is shown is the best of many short blocks, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import sys
import tempfile
import time
from statistics import median
from typing import Any, Callable

from attrs import define, evolve
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from bench.subjects import MODEL, chat_body
from voidllm.core.crypto import KeyDigester
from voidllm.core.model import Deployment, Model, Price
from voidllm.core.principal import Limits, Principal, Scope
from voidllm.core.snapshot import Snapshot
from voidllm.core.snapshots import SnapshotHolder
from voidllm.core.world import World
from voidllm.gate.gate import Gate
from voidllm.heap import keep_freed
from voidllm.http.front import FrontFactory
from voidllm.http.pool import UpstreamPool
from voidllm.http.treq_engine import TreqEngine
from voidllm.limits.ledger import MemoryLimiter
from voidllm.proxy.core import ProxyCore
from voidllm.proxy.handler import ProxyHandler
from voidllm.proxy.inprocess import InProcessPool
from voidllm.proxy.settings import ProxySettings
from voidllm.proxy.sweeper import StreamSweeper
from voidllm.routing.planner import InOrderPlanner
from voidllm.telemetry.metrics import Metrics
from voidllm.usage.journal import Journal
from voidllm.usage.settings import UsageSettings

_KEY = b"vl_uk_" + b"ab" * 24
_LIMITS = Limits(10**8, 10**10, 10**12, 10**13, 10**14)
_REQUEST_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
    b"User-Agent: hotpath\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
_USAGE = {
    "prompt_tokens": 200,
    "completion_tokens": 60,
    "total_tokens": 260,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = 50


class _Transport:
    """Keeps what is written; everything else a connection asks for does nothing."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append

    def take(self) -> bytes:
        """Give what was written since the last time."""
        data = b"".join(self.written)
        self.written.clear()
        return data

    def getPeer(self) -> None:
        """Nobody is there."""

    def nothing(self, *_: Any) -> None:
        """Do nothing."""

    registerProducer = unregisterProducer = setTcpNoDelay = setTcpKeepAlive = nothing
    pauseProducing = resumeProducing = loseConnection = abortConnection = nothing


class _Reactor(Clock):
    """Connections to nowhere, and timers that never fire."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        super().__init__()
        self.seconds = seconds  # type: ignore[method-assign]
        self.upstream = _Transport()
        self.attempt: Any = None

    def connectTCP(self, host: str, port: int, factory: Any, **_: Any) -> None:
        """Connect at once."""
        factory.buildProtocol(None).makeConnection(self.upstream)


@define
class HotPath:
    """One client connection, one upstream connection, and all that is between them.

    :ivar front: the protocol of the client's connection; ``client`` is its transport.
    :ivar upstream: the transport of the upstream's connection.
    """

    front: Any
    client: _Transport
    upstream: _Transport
    pool: UpstreamPool

    def request(self, raw: bytes) -> None:
        """Bring one request as far as the upstream."""
        self.front.dataReceived(raw)

    def reply(self, data: bytes) -> None:
        """Bring bytes of the upstream's reply."""
        self._connection.dataReceived(data)

    @property
    def _connection(self) -> Any:
        (call,) = self.pool._live
        return call.connection


def build(folder: str, engine: str, seconds: Callable[[], float] | None = None) -> HotPath:
    """Build it all, with its journal in ``folder``; ``engine`` is ``direct`` or ``treq``.

    :param seconds: both clocks in place of the real ones: which of two moments are the same
        millisecond makes a difference of a percent.
    """
    reactor = _Reactor(seconds or time.monotonic)
    world = World(reactor=reactor, in_thread=maybeDeferred)
    if seconds is not None:
        world = evolve(world, wall_ms=lambda: int(seconds() * 1000))
    digester = KeyDigester(b"k" * 32)
    counted = (Scope("key", "key-1", _LIMITS), Scope("org", "org-1", _LIMITS))
    principal = Principal("key-1", "user_key", "bench", "org-1", user_id="user-1", counted=counted)
    deployment = Deployment(MODEL, MODEL, "custom", "http://127.0.0.1:1/v1", "mock", api_key="sk-upstream")
    models = {
        MODEL: Model(MODEL, "chat", (deployment,), price=Price("config-1", 2_500_000, output=10_000_000))
    }
    holder = SnapshotHolder(Snapshot(1, {digester.digest(_KEY): principal}, models))
    journal = Journal(world, folder, "bench", 0, "x1", UsageSettings(reserve_bytes=0, fsync="off"))
    journal.start()
    metrics = Metrics()
    pool = UpstreamPool(world)
    carrier: Any = pool if engine == "direct" else TreqEngine(pool)
    core = ProxyCore(
        world=world,
        gate=Gate(world, holder, MemoryLimiter(), journal, digester, metrics),
        planner=InOrderPlanner(),
        pool=carrier,
        stream_pool=carrier,
        in_process=InProcessPool(reactor),
        metrics=metrics,
        settings=ProxySettings(spool_dir=folder),
        sweeper=StreamSweeper(reactor),
    )
    front = FrontFactory(world, ProxyHandler(core, holder)).buildProtocol(None)
    client = _Transport()
    front.makeConnection(client)
    return HotPath(front, client, reactor.upstream, pool)


def _http(body: bytes, head: bytes = b"") -> bytes:
    fields = b"content-type: application/json\r\nserver: mock\r\ncontent-length: %d\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\n" + fields % len(body) + body


def buffered(path: HotPath, size: int) -> Callable[[], None]:
    """Give a function that does one request of ``size`` body bytes with a buffered reply."""
    body = chat_body(size)
    raw = _REQUEST_HEAD % (_KEY, len(body)) + body
    message = {"role": "assistant", "content": "x" * 300}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "mock"}
    reply = _http(json.dumps({**answer, "choices": [choice], "usage": _USAGE}).encode())

    def one() -> None:
        path.request(raw)
        path.upstream.written.clear()
        path.reply(reply)
        path.client.written.clear()

    path.request(raw)
    assert path.upstream.take().startswith(b"POST /v1/chat/completions ")
    path.reply(reply)
    assert path.client.take().startswith(b"HTTP/1.1 200 ")
    return one


def streamed(path: HotPath) -> Callable[[], None]:
    """Give a function that does one stream of fifty events, each in a segment of its own."""
    body = chat_body(400, stream=True)
    raw = _REQUEST_HEAD % (_KEY, len(body)) + body
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "mock"}
    delta = {"choices": [{"index": 0, "delta": {"content": "some text"}, "finish_reason": None}]}
    middle = _chunk(b"data: %b\n\n" % json.dumps({**event, **delta}).encode())
    usage = _chunk(b"data: %b\n\n" % json.dumps({**event, "choices": [], "usage": _USAGE}).encode())
    end = usage + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def one() -> None:
        path.request(raw)
        path.reply(_STREAM_HEAD)
        for _ in range(EVENTS):
            path.reply(middle)
        path.reply(end)
        path.upstream.written.clear()
        path.client.written.clear()

    path.request(raw)
    path.reply(_STREAM_HEAD + middle + end)
    path.upstream.take()
    assert path.client.take().endswith(b"0\r\n\r\n")
    return one


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def calls(one: Callable[[], None], rounds: int = 100) -> tuple[float, pstats.Stats]:
    """Count the function calls, built-in ones included, of one round."""
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(rounds):
        one()
    profile.disable()
    found: Any = pstats.Stats(profile)
    return found.total_calls / rounds, found


def bytecodes(one: Callable[[], None], rounds: int = 20) -> float:
    """Count the bytecodes of one round, which no other work on the machine changes."""
    count = 0

    def local(_frame: Any, event: str, _argument: Any) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        return local

    def begin(frame: Any, _event: str, _argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local

    before = sys.gettrace()
    sys.settrace(begin)
    try:
        for _ in range(rounds):
            one()
    finally:
        sys.settrace(before)
    return count / rounds


def measure(one: Callable[[], None], seconds: float, rounds: int = 100) -> tuple[float, float]:
    """Give the microseconds of one round: of the best block, and of the median one."""
    blocks = []
    for _ in range(rounds):
        one()
    gc.collect()
    gc.freeze()
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        for _ in range(rounds):
            one()
        blocks.append((time.perf_counter() - begun) / rounds * 1e6)
    return min(blocks), median(blocks)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.hotpath", description=__doc__)
    parser.add_argument("--profile", action="store_true", help="list where the time of a request goes")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each measurement")
    parser.add_argument("--size", type=int, default=1030, help="bytes of the buffered request's body")
    parser.add_argument("--engine", choices=("direct", "treq"), default="direct")
    parser.add_argument("--only", choices=("buffered", "streamed"))
    options = parser.parse_args()
    # As the gateway does.
    keep_freed()
    with tempfile.TemporaryDirectory() as folder:
        path = build(folder, options.engine)
        todo = {
            "buffered": lambda: (buffered(path, options.size), 1),
            "streamed": lambda: (streamed(path), EVENTS),
        }
        for name, make in todo.items():
            if options.only not in (None, name):
                continue
            one, parts = make()
            best, usual = measure(one, options.seconds, 100 // min(parts, 20))
            count, stats = calls(one)
            unit = "request" if parts == 1 else "event"
            print(
                f"{name}: {best / parts:.1f} us/{unit} (median {usual / parts:.1f}), "
                f"{count / parts:.0f} calls and {bytecodes(one) / parts:.0f} bytecodes/{unit}"
            )
            if options.profile:
                stats.sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
