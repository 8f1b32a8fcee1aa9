"""Where the C programs come from, and that the mocks in C and Python are the same."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bench.native import build as building
from bench.native.build import NoCompiler, build, compile_to
from bench.programs import command

ROOT = Path(__file__).resolve().parents[2]


def started(command: list[str]) -> tuple[subprocess.Popen[str], int]:
    """Start a server that prints ``listening PORT``."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline().split()[1])


class Rig(SynchronousTestCase):
    """Servers for one test."""

    def serve(self, command: list[str]) -> int:
        """Start a server for one test and give its port."""
        process, port = started(command)

        def stop() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(stop)
        return port


class Mocks(Rig):
    """The C mock and the Python one answer alike."""

    def both(self, *more: str) -> list[int]:
        """Start both with the same settings."""
        ports = []
        for native in ("1", "0"):
            with mock.patch.dict(os.environ, VOIDLLM_BENCH_NATIVE=native):
                started = command("mock")
            with mock.patch.dict(os.environ, started.environ):
                words = ["--delay-us", "20000", "--events", "3", "--interval-us", "1000", *more]
                ports.append(self.serve([*started.words, *words]))
        return ports

    def talk(self, port: int, method: str, path: str, bodies: list[Any]) -> list[Any]:
        """Send bodies on one connection; give status, headers and body of each reply."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        self.addCleanup(connection.close)
        got = []
        for body in bodies:
            connection.request(method, path, body if isinstance(body, bytes) else json.dumps(body))
            reply = connection.getresponse()
            got.append((reply.status, reply.getheaders(), reply.read()))
        return got

    def test_mock_framing(self) -> None:
        """The mock takes chunked bodies, pipelined requests and settings."""
        for port in self.both("--delay-us", "0"):
            self.framing(port)

    def framing(self, port: int) -> None:
        """Try one mock."""
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

    def test_mcp(self) -> None:
        """Messages of MCP are answered byte for byte alike, with the id that was asked with."""
        initialize = {"protocolVersion": "2025-03-26", "capabilities": {}, "id": "no", "method": "tools/call"}
        bodies: list[Any] = [
            {"jsonrpc": "2.0", "params": initialize, "id": 1, "method": "initialize"},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {"jsonrpc": "2.0", "method": "tools/list", "id": 'a"b'},
            {
                "method": "tools/call",
                "params": {"name": "mock_tool", "arguments": {"x": "y" * 9000}},
                "id": 7,
            },
            {"jsonrpc": "2.0", "id": 8, "method": "ping"},
            {"jsonrpc": "2.0", "id": 9, "method": "server/discover"},
            {"jsonrpc": "2.0", "id": 10, "result": {}},
            b"[]",
            b'{"id":1,',
        ]
        c, python = (self.talk(port, "POST", "/mcp", bodies) for port in self.both())
        self.assertEqual(c, python)
        self.assertEqual([status for status, _, _ in c], [200, 202, 200, 200, 200, 200, 202, 400, 400])
        self.assertEqual(dict(c[0][1])["Mcp-Session-Id"], "bench-session-001")
        self.assertEqual(json.loads(c[0][2])["result"]["protocolVersion"], "2025-03-26")
        self.assertEqual(json.loads(c[2][2])["id"], 'a"b')
        self.assertEqual(len(json.loads(c[2][2])["result"]["tools"]), 5)
        self.assertEqual(json.loads(c[3][2])["result"]["content"][0]["type"], "text")
        self.assertEqual(json.loads(c[5][2])["error"]["code"], -32601)

    def test_paths_and_counters(self) -> None:
        """The path decides who answers, MCP takes POST only, and counters tell how late timers were."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        for port in self.both():
            refused = [self.talk(port, method, "/mcp", [b""])[0] for method in ("GET", "DELETE")]
            self.assertEqual([(s, dict(h)["Allow"]) for s, h, _ in refused], [(405, "POST")] * 2)
            self.talk(port, "POST", "/mcp?x=y", [call] * 2)
            self.assertIn(b"chat.completion", self.talk(port, "POST", "/mcps", [call])[0][2])
            got, again = (json.loads(body) for _, _, body in self.talk(port, "GET", "/x?reset=1", [b"", b""]))
            self.assertEqual((got["requests"], got["calls"], got["timers"], again["timers"]), (3, 2, 3, 0))
            self.assertGreater(got["late_max_us"], 0)
            self.assertLessEqual(got["late_p50_us"], got["late_p99_us"])
            self.assertGreater(got["cpu_s"], 0)

    def test_completions_and_streams(self) -> None:
        """Completions are the same, and streams too but for their clocks."""
        plain, stream = b'{"model":"m"}', b'{"stream": true, "stream_options": {"include_usage": true}}'
        c, python = (self.talk(port, "POST", "/v1/chat/completions", [plain, stream]) for port in self.both())
        self.assertEqual(c[0], python[0])
        self.assertEqual(c[1][:2], python[1][:2])
        events, others = (re.sub(rb"t=\d{19}", b"", got[1][2]) for got in (c, python))
        self.assertEqual(events, others)
        self.assertEqual((events.count(b" n="), events.count(b'"completion_tokens":3')), (3, 1))


class Building(SynchronousTestCase):
    """Where the programs come from."""

    def setUp(self) -> None:
        """Have a folder."""
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()

    def test_prebuilt_wins_when_it_runs(self) -> None:
        """A program that the package brings is used, but not one that does not run on this machine."""
        self.patch(building, "PREBUILT", self.folder)
        ready = self.folder / "load"
        ready.write_text("#!/bin/sh\nexit 0\n")
        ready.chmod(0o755)
        self.assertEqual(build("load"), ready)
        ready.write_bytes(b"\x7fELF of another machine")
        self.assertNotEqual(build("load"), ready)
        ready.unlink()
        self.assertNotEqual(build("load"), ready)

    def test_cache_folder(self) -> None:
        """Where the package cannot be written, programs are kept in the user's cache."""
        self.assertEqual(building.cache_folder(), building.HERE.parent / "build")
        self.patch(os, "access", lambda path, mode: False)
        with mock.patch.dict(os.environ, XDG_CACHE_HOME=str(self.folder)):
            self.assertEqual(building.cache_folder(), self.folder / "voidllm" / "bench")
        with mock.patch.dict(os.environ, XDG_CACHE_HOME="", HOME=str(self.folder)):
            self.assertEqual(building.cache_folder(), self.folder / ".cache" / "voidllm" / "bench")

    def test_compiled_once(self) -> None:
        """A program is compiled once for its sources, and replaces those of other sources."""
        self.patch(building, "cache_folder", lambda: self.folder)
        (self.folder / "load-0123456789ab").touch()
        first = build("load")
        made = first.stat().st_mtime_ns
        self.assertEqual((build("load"), first.stat().st_mtime_ns), (first, made))
        self.assertEqual(list(self.folder.iterdir()), [first])
        self.assertEqual(building.main([str(self.folder / "package")]), 0)
        self.assertEqual({p.name for p in (self.folder / "package").iterdir()}, {"load", "mock"})

    def test_no_compiler(self) -> None:
        """Without a compiler the message says what to install, and the Python programs are used."""
        self.patch(building, "PREBUILT", self.folder)
        self.patch(building, "cache_folder", lambda: self.folder)
        with mock.patch.dict(os.environ, PATH=str(self.folder), VOIDLLM_BENCH_NATIVE="1"):
            with self.assertRaisesRegex(NoCompiler, "apt install gcc"):
                build("load")
            found = command("load")
        self.assertEqual((found.kind, found.words[1:]), ("python", ("-m", "bench.fallback.load")))
        self.assertIn("apt install gcc", found.reason)

    def test_a_compiler_that_fails(self) -> None:
        """What the compiler says is in the message, and nothing half-made stays."""
        (self.folder / "cc").write_text("#!/bin/sh\necho no such header >&2\nexit 1\n")
        (self.folder / "cc").chmod(0o755)
        path = mock.patch.dict(os.environ, PATH=f"{self.folder}:/bin:/usr/bin")
        with path, self.assertRaisesRegex(NoCompiler, "no such header"):
            compile_to("load", self.folder / "new" / "load")
        self.assertEqual(list((self.folder / "new").iterdir()), [])
