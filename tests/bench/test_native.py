"""The C mock and the C load generator measure known schedules rightly."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.native.build import build

ROOT = Path(__file__).resolve().parents[2]


def started(command: list[str]) -> tuple[subprocess.Popen[str], int]:
    """Start a server that prints ``listening PORT``."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline().split()[1])


class Native(SynchronousTestCase):
    """Mock and generator against each other."""

    def serve(self, command: list[str]) -> int:
        """Start a server for one test and give its port."""
        process, port = started(command)

        def stop() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(stop)
        return port

    def mock(self, **options: int) -> int:
        """Start the C mock."""
        words = [w for k, v in options.items() for w in ("--" + k.replace("_", "-"), str(v))]
        return self.serve([str(build("mock")), *words])

    def load(self, mode: str, port: int, **options: Any) -> Any:
        """Run the generator and give its line."""
        words = [w for k, v in options.items() for w in ("--" + k.replace("_", "-"), str(v))]
        command = [str(build("load")), mode, "--port", str(port), "--warmup", "0.1", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return json.loads(done.stdout)

    def test_open_loop(self) -> None:
        """A fixed schedule gives that many requests, each at least as late as the mock's delay."""
        port = self.mock(delay_us=5000)
        got = self.load("open", port, rate=400, seconds=0.5, connections=16)
        self.assertIn(got["count"], range(199, 202))
        self.assertEqual(got["error_count"], 0)
        self.assertGreaterEqual(got["p50_us"], 5000)
        self.assertLess(got["p50_us"], 15000)
        self.assertLessEqual(got["p50_us"], got["p99_us"])
        poisson = self.load("open", port, rate=400, seconds=0.5, connections=32, poisson=1, seed=3)
        self.assertGreater(poisson["count"], 120)
        self.assertLess(poisson["count"], 300)

    def test_latency_counts_from_the_intended_time(self) -> None:
        """With half the capacity that the schedule needs, waiting in the generator is in the latency."""
        got = self.load("open", self.mock(delay_us=20000), rate=100, seconds=0.3, connections=1)
        self.assertGreater(got["max_us"], 200_000)
        self.assertEqual(got["error_count"], 0)

    def test_closed_loop(self) -> None:
        """Ten connections with 10 ms each give at most 1,000 requests a second, and most of that."""
        got = self.load("closed", self.mock(delay_us=10000), seconds=0.5, connections=10)
        self.assertLessEqual(got["rps"], 1000)
        self.assertGreater(got["rps"], 500)
        self.assertEqual(got["body_length"], 731)

    def test_streams(self) -> None:
        """Twenty streams of 100 events a second give that many events, none lost, and end with [DONE]."""
        port = self.mock(delay_us=1000, events=20, interval_us=10000)
        got = self.load("sse", port, seconds=0.5, connections=20, ramp=0.05)
        self.assertGreater(got["events"], 600)
        self.assertLess(got["events"], 1100)
        self.assertEqual((got["events_lost"], got["error_count"], got["streams_live"]), (0, 0, 20))
        self.assertGreater(got["streams_done"], 20)
        self.assertLess(got["event_p50_us"], 20000)

    def test_errors_are_told_apart(self) -> None:
        """Wrong status, cut body, changed body and refused connections count by kind."""
        port = self.serve([sys.executable, "-m", "bench.mocks.llm", "--port", "0"])
        body = Path(self.mktemp())
        for fault, kind in (("status-500", "status"), ("cut", "cut")):
            body.write_text(json.dumps({"model": f"mock-fault-{fault}", "messages": [{"role": "user"}]}))
            got = self.load("open", port, rate=50, seconds=0.1, connections=2, body=body)
            self.assertEqual(set(got["errors"]), {kind})
        body.write_text(json.dumps({"model": "m", "messages": [{"role": "user"}]}))
        got = self.load("open", port, rate=50, seconds=0.1, connections=2, body=body, expect_length=5)
        self.assertEqual(set(got["errors"]), {"length"})
        refused = self.load("open", 1, rate=50, seconds=0.1, connections=2, drain=0.1)
        self.assertIn("connect", refused["errors"])

    def test_mock_framing(self) -> None:
        """The mock takes chunked bodies, pipelined requests and settings."""
        port = self.mock(delay_us=0)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/x", iter([b'{"model":', b'"m"}']), encode_chunked=True)
        self.assertEqual(json.loads(connection.getresponse().read())["usage"]["total_tokens"], 142)
        connection.request("GET", "/config?events=2&interval_us=100")
        self.assertEqual(json.loads(connection.getresponse().read())["events"], 2)
        connection.request("POST", "/v1/x", b'{"stream":true,"stream_options":{"include_usage":true}}')
        text = connection.getresponse().read()
        self.assertEqual((text.count(b'"t='), text.count(b'"usage":{'), text[-8:]), (2, 1, b"[DONE]\n\n"))
        one = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
        sock = connection.sock
        assert sock is not None
        sock.sendall(one * 3)
        data = b""
        while data.count(b"HTTP/1.1 200") < 3:
            data += sock.recv(65536)
