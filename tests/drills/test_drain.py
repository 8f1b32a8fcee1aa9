"""SIGTERM with work in flight, a second signal, and SIGHUP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
import uuid
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import chat_body, faults_in, journal_bytes, mock_model, quiet, sqlite_rows
from tests.harness import Gateway, MockLLM, wait_until

DRAIN_S = 5


class Caller:
    """One request in a thread of its own.

    :ivar text: what of the body has come.
    :ivar ended: whether the reply was complete by its framing, ``None`` while it runs.
    """

    def __init__(self, gateway: Gateway, model: str, stream: bool) -> None:
        self.id = str(uuid.uuid4())
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = b""
        self.ended: bool | None = None
        self._port = gateway.port
        self._headers = {
            "authorization": f"Bearer {gateway.key}",
            "content-type": "application/json",
            "x-request-id": self.id,
        }
        self._body = chat_body(model, stream=stream)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request("POST", "/v1/chat/completions", self._body, self._headers)
            reply = connection.getresponse()
            self.status = reply.status
            self.headers = {name.lower(): value for name, value in reply.getheaders()}
            while data := reply.read1(65536):
                self.text += data
            self.ended = True
        except (OSError, http.client.HTTPException):
            self.ended = False
        finally:
            connection.close()

    def wait(self) -> Caller:
        """Wait until the reply has ended one way or the other."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self


class DrainTests(SynchronousTestCase):
    """Stopping lets what runs finish, ends what does not, and loses no row."""

    def setUp(self) -> None:
        """Start a gateway with models of several speeds."""
        self.mock = MockLLM("--remember", "100")
        self.addCleanup(self.mock.stop)
        url = self.mock.base_url
        models = [
            mock_model("short-stream", url, "interval-50+words-30"),
            mock_model("long-stream", url, "interval-50+words-4000"),
            mock_model("short-call", url, "delay-1500"),
            mock_model("long-call", url, "never"),
        ]
        proxy = {"drain_timeout": f"{DRAIN_S}s"}
        self.gateway = Gateway(self.mktemp(), models, server={"proxy": proxy}).start()
        self.addCleanup(self.gateway.kill)

    def callers(self) -> dict[str, Caller]:
        """Put one call of each kind in flight."""
        made = {
            name: Caller(self.gateway, name, name.endswith("stream"))
            for name in ("short-stream", "long-stream", "short-call", "long-call")
        }
        wait_until(lambda: self.mock.get("/__mock/state")["requests_total"] == 4, "calls to be in flight")
        # The first events have no text yet.
        wait_until(lambda: len(made["long-stream"].text) > 1500, "streams to flow")
        return made

    def test_drain(self) -> None:
        """New work is refused, running work finishes, the rest gets an error it can tell; exit 0."""
        idle = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
        self.addCleanup(idle.close)
        # A connection whose request was begun before the signal and is completed after it.
        begun = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
        self.addCleanup(begun.close)
        body = chat_body("demo")
        calls = self.callers()
        begun.putrequest("POST", "/v1/chat/completions")
        for name, value in (
            ("authorization", f"Bearer {self.gateway.key}"),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
        ):
            begun.putheader(name, value)
        begun.endheaders()
        wait_until(lambda: not quiet(self.gateway.port), "the request to be begun")
        began = time.monotonic()
        self.gateway.signal(signal.SIGTERM)
        refused = self._refusal()
        self.assertEqual(refused[0], 503)
        self.assertGreaterEqual(int(refused[1]["retry-after"]), 1)
        self.assertEqual(json.loads(refused[2])["error"]["code"], "service_unavailable")
        begun.send(body)
        late = begun.getresponse()
        self.assertEqual(late.status, 503)
        self.assertIsNotNone(late.getheader("retry-after"))
        late.read()

        done = calls["short-stream"].wait()
        self.assertEqual((done.status, done.ended), (200, True))
        self.assertIn(b"[DONE]", done.text)
        done = calls["short-call"].wait()
        self.assertEqual((done.status, done.ended), (200, True))
        self.assertLess(time.monotonic() - began, DRAIN_S)
        self.assertIsNone(calls["long-stream"].ended)

        cut = calls["long-stream"].wait()
        self.assertEqual((cut.status, cut.ended), (200, True))
        self.assertNotIn(b"[DONE]", cut.text)
        last = cut.text.strip().rsplit(b"\n\n", 1)[-1]
        self.assertIn("error", json.loads(last.split(b"data: ", 1)[1]))
        cut = calls["long-call"].wait()
        self.assertEqual((cut.status, cut.ended), (503, True))
        self.assertIn("retry-after", cut.headers)
        self.assertEqual(self.gateway.wait(10), 0)
        self.assertLess(time.monotonic() - began, DRAIN_S + 4)
        self._accounted(calls)
        self.assertEqual(journal_bytes(self.gateway), 0)

    def test_second_signal(self) -> None:
        """A second signal ends the process at once; what ran is accounted after the next start."""
        calls = self.callers()
        self.gateway.signal(signal.SIGTERM)
        wait_until(lambda: self._refusal()[0] == 503, "the drain to begin")
        began = time.monotonic()
        self.gateway.signal(signal.SIGINT)
        self.gateway.wait(5)
        self.assertLess(time.monotonic() - began, 2)
        for call in calls.values():
            call.wait()
        # However fast the end is, the client can tell it from a complete stream.
        self.assertIn(b"server_shutdown", calls["long-stream"].text)
        self.gateway.start()
        self.assertEqual(self.gateway.stop(), 0)
        self._accounted(calls)

    def _refusal(self) -> tuple[int, dict[str, str], bytes]:
        return self.gateway.chat("demo")

    def _accounted(self, calls: dict[str, Caller]) -> None:
        rows = sqlite_rows(self.gateway)
        self.assertEqual(set(rows.ids.values()), {1})
        for name, call in calls.items():
            self.assertIn(call.id, rows.by_id, name)
        # Text was delivered, so it is not for nothing.
        self.assertIn(rows.by_id[calls["long-stream"].id][3], ("provider_partial", "estimated"))
        self.assertEqual(rows.detail, rows.counted)
        self.assertEqual(faults_in(self.gateway.log.read_text()), [])


class ReloadTests(SynchronousTestCase):
    """SIGHUP reloads as a whole or not at all."""

    def setUp(self) -> None:
        """Start a gateway."""
        self.mock = MockLLM()
        self.addCleanup(self.mock.stop)
        self.gateway = Gateway(self.mktemp(), self._models("one")).start()
        self.addCleanup(self.gateway.kill)

    def _models(self, *names: str) -> list[dict[str, Any]]:
        return [mock_model(name, self.mock.base_url) for name in names]

    def _hup(self) -> None:
        self.gateway.signal(signal.SIGHUP)

    def test_valid(self) -> None:
        """A model that was added answers within a second, one that was taken away does not."""
        self.assertEqual(self.gateway.chat("two")[0], 404)
        self.gateway.configure(self._models("two"))
        self._hup()
        wait_until(lambda: self.gateway.chat("two")[0] == 200, "the new model", 1.0)
        self.assertEqual(self.gateway.chat("one")[0], 404)
        self.assertEqual(self.gateway.chat("demo")[0], 200)

    def test_under_load(self) -> None:
        """A stream that runs through a reload of its model ends as it would have."""
        self.gateway.configure([mock_model("one", self.mock.base_url, "interval-20+words-50")])
        self._hup()
        wait_until(lambda: b"reloaded" in self.gateway.log.read_bytes(), "the reload")
        call = Caller(self.gateway, "one", True)
        wait_until(lambda: call.text, "the stream to flow")
        self.gateway.configure(self._models("other"))
        self._hup()
        wait_until(lambda: self.gateway.chat("one")[0] == 404, "the model to be gone", 1.0)
        self.assertIn(b"[DONE]", call.wait().text)
        self.gateway.stop()
        self.assertEqual(sqlite_rows(self.gateway).by_id[call.id][1:4], (200, "", "provider_final"))

    def test_invalid(self) -> None:
        """A file with a mistake, or none at all, leaves everything as it was."""
        good = self.gateway.config.read_bytes()
        secret = b"sk-" + uuid.uuid4().hex.encode()
        for number, bad in enumerate(
            (
                b"models: [",
                good + b"\nno_such_key: 1\n",
                good.replace(b"provider: custom", b"provider: nobody"),
                good.replace(b"name: one", b"name: two").replace(b"sk-upstream", secret) + b"\nredis: 5\n",
                None,
            ),
            1,
        ):
            if bad is None:
                os.unlink(self.gateway.config)
            else:
                self.gateway.config.write_bytes(bad)
            self._hup()
            wait_until(
                lambda number=number: self.gateway.log.read_bytes().count(b"was not reloaded") == number,
                "the refusal",
            )
            self.assertEqual(self.gateway.chat("one")[0], 200)
            self.assertEqual(self.gateway.chat("two")[0], 404)
        self.assertNotIn(secret, self.gateway.log.read_bytes())
        self.gateway.config.write_bytes(good)
        self._hup()
        wait_until(lambda: b"was reloaded" in self.gateway.log.read_bytes(), "the reload")
        self.assertEqual(self.gateway.stop(), 0)
