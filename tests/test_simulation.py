"""Two whole gateways, an upstream and a client in one process, on one simulated clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import ClientFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.proxy.rig import DONE, STREAM_HEAD, USAGE, Client, Upstream, chunk, event, json_reply
from tests.sim import SimReactor, sim_world
from voidllm.bootstrap import FirstCredentials
from voidllm.config import parse_config
from voidllm.core.errors import StoreUnavailable
from voidllm.core.world import World
from voidllm.gate.metrics import NoMetrics as NoGateMetrics
from voidllm.gateway import Gateway
from voidllm.http.front import FrontFactory
from voidllm.proxy.metrics import NoMetrics as NoProxyMetrics
from voidllm.store.records import UsageQuery
from voidllm.upstreams import make_upstreams
from voidllm.wiring import front_settings, pool_settings

INNER, OUTER, UPSTREAM = 8001, 8002, 9001


class NoMetrics(NoGateMetrics, NoProxyMetrics):
    """Counts nothing."""


class SimulatedBox:
    """One gateway with its own folder and port."""

    def __init__(self, world: World, folder: Path, port: int, base_url: str, api_key: str) -> None:
        folder.mkdir(parents=True)
        text = json.dumps(
            {
                "state_dir": str(folder),
                "usage": {"reserve_mb": 0},
                "upstream": {"engine": "direct"},
                "models": [
                    {
                        "name": "m",
                        "provider": "custom",
                        "base_url": base_url,
                        "api_key": api_key,
                        "pricing": {"input_per_1m": 1, "output_per_1m": 2},
                    }
                ],
            }
        )
        config = parse_config(text, {}, "simulated.yaml", str(folder))
        self.first: list[FirstCredentials] = []
        self.gateway = Gateway(
            world,
            config,
            make_upstreams(world, config.upstream.engine, pool_settings(config)),
            NoMetrics(),
            self.first.append,
            {},
        )
        self.front = FrontFactory(world, self.gateway.plane.door, None, front_settings(config))
        self.port = world.reactor.listenTCP(port, self.front)

    def open(self) -> Deferred[None]:
        """Begin to open the gateway."""
        return Deferred.fromCoroutine(self.gateway.open())

    @property
    def key(self) -> str:
        """The first API key."""
        return self.first[0].api_key


class SimulationTests(SynchronousTestCase):
    """A client calls a gateway whose upstream is another gateway."""

    def setUp(self) -> None:
        """Build the little world."""
        self.reactor = SimReactor()
        self.world = sim_world(self.reactor, seed=7)
        self.upstream = Upstream()
        self.reactor.listenTCP(UPSTREAM, self.upstream)
        folder = Path(self.mktemp())
        self.inner = self.box(folder / "inner", INNER, f"http://127.0.0.1:{UPSTREAM}/v1", "sk-up")
        self.outer = self.box(folder / "outer", OUTER, f"http://127.0.0.1:{INNER}/v1", self.inner.key)

    def box(self, folder: Path, port: int, base_url: str, api_key: str) -> SimulatedBox:
        """Start one gateway and wait until it is open."""
        box = SimulatedBox(self.world, folder.absolute(), port, base_url, api_key)
        opening = box.open()
        self.reactor.spin(2)
        self.successResultOf(opening)
        self.assertEqual(box.gateway.state, "ready")
        return box

    def chat(self, **more: Any) -> Client:
        """Send a chat request to the outer gateway."""
        client = Client()
        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda _: client  # type: ignore[method-assign]
        self.reactor.connectTCP("127.0.0.1", OUTER, factory)
        self.reactor.spin(0.01)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], **more}).encode()
        client.transport.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Length: %d\r\n\r\n" % (self.outer.key.encode(), len(body)) + body
        )
        self.reactor.spin(0.2)
        return client

    def usage(self, box: SimulatedBox) -> list[tuple[Any, ...]]:
        """Give what a gateway's store knows: (status, requests, prompt, completion, cost)."""
        flushed = box.gateway.batcher.flush()
        self.reactor.spin(0.1)
        self.successResultOf(flushed)
        query = UsageQuery(0, 2**52, ("status",))
        rows = self.successResultOf(box.gateway.store.usage_report(query))
        return [
            (row.group[0], row.total_requests, row.prompt_tokens, row.completion_tokens, row.cost_nano)
            for row in rows
        ]

    def test_both_account_for_the_same_calls(self) -> None:
        """Buffered and streamed calls through two gateways are counted alike by both."""

        def answer(peer: Any) -> None:
            if self.upstream.body().get("stream"):
                peer.send(STREAM_HEAD + b"".join(map(chunk, (event("a"), USAGE, DONE))) + b"0\r\n\r\n")
            else:
                peer.send(json_reply({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}))

        self.upstream.on_request = answer
        self.assertEqual(self.chat().status, 200)
        self.assertEqual(self.chat(stream=True).body, event("a") + DONE)
        expected = [(200, 2, 14, 6, 2 * (7 * 1000 + 3 * 2000))]
        self.assertEqual(self.usage(self.inner), expected)
        self.assertEqual(self.usage(self.outer), expected)

    def test_leaving_is_passed_on(self) -> None:
        """A client that leaves the outer gateway ends the call at the far upstream."""
        client = self.chat(stream=True)
        self.assertTrue(self.upstream.peers[-1].open)
        client.transport.abortConnection()
        self.reactor.spin(0.2)
        self.assertFalse(self.upstream.peers[-1].open)
        self.assertEqual([row[0] for row in self.usage(self.outer)], [499])
        self.assertEqual([row[0] for row in self.usage(self.inner)], [499])

    def test_database_that_leaves_while_it_opens(self) -> None:
        """Whatever step of the start a database fails, the step is tried again until it is back."""
        folder = Path(self.mktemp()).absolute()
        box = SimulatedBox(self.world, folder, 8003, f"http://127.0.0.1:{UPSTREAM}/v1", "sk-up")
        left = {}
        for name in ("meta_get", "bootstrap", "read", "usage_since"):
            left[name] = 2

            def flaky(*args: Any, name: str = name, real: Any = getattr(box.gateway.store, name)) -> Any:
                if left[name]:
                    left[name] -= 1
                    return fail(StoreUnavailable("away"))
                return real(*args)

            self.patch(box.gateway.store, name, flaky)
        opening = box.open()
        self.reactor.spin(10, 0.01)
        self.successResultOf(opening)
        self.assertEqual((box.gateway.state, set(left.values())), ("ready", {0}))

    def test_stop_in_the_last_step_of_the_start(self) -> None:
        """A gateway that is asked to stop while it opens does not open after that."""
        folder = Path(self.mktemp()).absolute()
        box = SimulatedBox(self.world, folder, 8003, f"http://127.0.0.1:{UPSTREAM}/v1", "sk-up")
        answer: Deferred[tuple[()]] = Deferred()
        self.patch(box.gateway.store, "usage_since", lambda *_: answer)
        opening = box.open()
        self.reactor.spin(1, 0.01)
        box.gateway.drain()
        answer.callback(())
        self.reactor.spin(1, 0.01)
        self.successResultOf(opening)
        self.assertEqual((box.gateway.state, box.gateway.plane.door.target), ("draining", None))

    def test_stop_leaves_nothing(self) -> None:
        """Closed gateways leave no timer and no connection."""
        self.chat(stream=True)
        for box in (self.outer, self.inner):
            closing = Deferred.fromCoroutine(box.gateway.close())
            self.reactor.spin(3)
            self.successResultOf(closing)
            box.front.drain()
            box.port.stopListening()
        self.reactor.spin(70, 0.1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.open, set())
