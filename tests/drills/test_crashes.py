"""Bugs, put into a real process on purpose: the worst moment to keep a secret."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import (
    chat_body,
    connect,
    head,
    metrics,
    receive_all,
    sqlite_rows,
    status_of,
    wait_quiet,
)
from tests.drills.test_canary import CANARY
from tests.harness import Gateway, MockLLM, custom_model, request

CHAT = "/v1/chat/completions"

#: Runs before twistd; each function fails, with content in its exception's text, on request.
BOMBS = """
import voidllm.proxy.json_exchange, voidllm.proxy.relay, voidllm.usage.metering

def arm(owner, name, word):
    real = getattr(owner, name)
    def bomb(*args, **kwargs):
        if word in repr(args) + repr(kwargs):
            raise ValueError(repr(args))
        return real(*args, **kwargs)
    setattr(owner, name, bomb)

arm(voidllm.proxy.json_exchange, "parse", "boom-parse")
arm(voidllm.usage.metering.StreamMeter, "watch", "boom-watch")
arm(voidllm.proxy.relay.BufferedRelay, "chunk", "boom-chunk")
"""


class CrashTests(SynchronousTestCase):
    """A bug says where it is, and nothing else; the client knows, and there is a row."""

    def setUp(self) -> None:
        """Start a gateway that has bugs."""
        self.mock = MockLLM()
        self.addCleanup(self.mock.stop)
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(BOMBS)
        models: list[dict[str, Any]] = [custom_model("echo", self.mock.base_url, upstream_model="mock-echo")]
        self.gateway = Gateway(folder / "gateway", models, logging={"level": "debug"})
        self.gateway.start({"PYTHONPATH": str(folder)})
        self.addCleanup(self.gateway.kill)

    def test_crashes(self) -> None:
        """In parsing, in a stream, in a reply: a place in the log, no content, nothing left open."""
        ids = []
        for word, stream in (("boom-parse", False), ("boom-watch", True), ("boom-chunk", False)):
            ids.append(str(uuid.uuid4()))
            body = chat_body("echo", f"{word} {CANARY}", stream=stream)
            sock = connect(self.gateway.port)
            sock.sendall(head(self.gateway.key, CHAT, len(body), ids[-1], "Connection: close") + body)
            reply = receive_all(sock)
            sock.close()
            self.assertNotIn(b"[DONE]", reply, word)
            self.assertIn(status_of(reply), (0, 200, 500, 502), word)
            if status_of(reply) >= 500:
                self.assertIn("error", json.loads(reply.split(b"\r\n\r\n", 1)[1]))
        wait_quiet(self.gateway.port)
        self.assertEqual(metrics(self.gateway.port)['voidllm_upstream_connections{state="busy"}'], 0)
        self.assertEqual(self.mock.get("/__mock/state")["in_flight"], 0)
        self.assertEqual(self.gateway.chat("echo")[0], 200)
        scraped = request(self.gateway.port, "GET", "/metrics")[2]
        self.assertEqual(self.gateway.stop(), 0)
        log = self.gateway.log.read_bytes()
        self.assertGreaterEqual(log.count(b"ValueError"), len(ids))
        self.assertNotIn(CANARY.encode(), log + scraped)
        self.assertNotIn(b"boom-", log.replace(b"sitecustomize", b""))
        rows = sqlite_rows(self.gateway)
        self.assertEqual({one: rows.ids[one] for one in ids}, dict.fromkeys(ids, 1))
