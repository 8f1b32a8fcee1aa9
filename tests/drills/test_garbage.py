"""What no honest client sends, to the real process."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from typing import Callable

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import (
    chat_body,
    connect,
    faults_in,
    head,
    receive_all,
    resident_kb,
    sqlite_rows,
    status_of,
    wait_quiet,
)
from tests.harness import Gateway, MockLLM, custom_model

CHAT = "/v1/chat/completions"
GIGABYTE = 1 << 30
MOST_GROWTH_KB = 20 << 10
ROUNDS = 2000

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")

#: Bodies that must be refused, by what is wrong with them.
BODIES: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"hello",
    "cut": b'{"model":"plain","messages":[{"role":"user","con',
    "array": b"[]",
    "nul": b'{"model":"plain","messages":[]}\x00',
    "two values": b'{"model":"plain","messages":[]}{}',
    "invalid UTF-8": b'{"model":"plain","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "overlong UTF-8": b'{"model":"plain","messages":[{"role":"user","content":"\xc0\xaf"}]}',
    "UTF-8 surrogate": b'{"model":"plain","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "UTF-16": '{"model":"plain","messages":[]}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"model":"plain","messages":[]}',
    "lone surrogate in model": b'{"model":"pla\\ud800in","messages":[]}',
    "lone surrogate in a key": b'{"model":"plain","mod\\udc00el":1,"messages":[]}',
    "deep array": b'{"model":"plain","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": b'{"model":"plain","messages":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "deep and cut": b'{"model":' + b"[" * 500_000,
    "case of model": b'{"Model":"plain","messages":[]}',
    "second model": b'{"model":"plain","MODEL":"other","messages":[]}',
    "folded stream": '{"model":"plain","\u017ftream":true,"messages":[]}'.encode(),
    "case of stream": b'{"model":"plain","Stream":true,"messages":[]}',
    "duplicate model": b'{"model":"plain","model":"other","messages":[]}',
    "escaped duplicate": b'{"model":"plain","mod\\u0065l":"other","messages":[]}',
    "duplicate messages": b'{"model":"plain","messages":[],"messages":[]}',
    "model is a number": b'{"model":7,"messages":[]}',
    "model is empty": b'{"model":"","messages":[]}',
    "no model": b'{"messages":[]}',
    "stream is a text": b'{"model":"plain","stream":"yes","messages":[]}',
    "not a number": b'{"model":"plain","temperature":NaN,"messages":[]}',
    "huge model": b'{"model":"' + b"x" * 1_000_000 + b'","messages":[]}',
}


def raw(*lines: str, body: str = "") -> bytes:
    """Encode a request as written."""
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body.encode()


class GarbageTests(SynchronousTestCase):
    """Each is refused, none reaches the upstream, and the process does not notice."""

    def setUp(self) -> None:
        """Start a gateway with little patience."""
        self.mock = MockLLM("--remember", "10")
        self.addCleanup(self.mock.stop)
        self.gateway = Gateway(
            self.mktemp(),
            [custom_model("plain", self.mock.base_url)],
            server={"proxy": {"read_timeout": "300ms", "idle_timeout": "2s"}},
        ).start()
        self.addCleanup(self.gateway.kill)
        self.port = self.gateway.port
        self.key = self.gateway.key

    def ask(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own; gives all that comes back until it is closed."""
        sock = connect(self.port)
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            return receive_all(sock)
        finally:
            sock.close()

    def body(self, body: bytes, *fields: str) -> bytes:
        """Encode a request that is fine but for its body."""
        return head(self.key, CHAT, len(body), str(uuid.uuid4()), *fields) + body

    def smuggled(self) -> dict[str, bytes]:
        """Give requests that parsers disagree about."""
        first, host, auth = f"POST {CHAT} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.key}"
        kind, inner = "Content-Type: application/json", f"0\r\n\r\nGET /v1/models HTTP/1.1\r\n{auth}\r\n\r\n"
        chunked = "Transfer-Encoding: chunked"
        return {
            "CL.TE": raw(first, host, auth, kind, "Content-Length: 6", chunked, body=inner),
            "TE.TE": raw(first, host, auth, kind, chunked, "Transfer-Encoding: identity", body=inner),
            "gzip, chunked": raw(first, host, auth, kind, "Transfer-Encoding: gzip, chunked", body=inner),
            "xchunked": raw(first, host, auth, kind, "Transfer-Encoding: xchunked", body=inner),
            "two lengths": raw(
                first, host, auth, kind, "Content-Length: 3", "Content-Length: 4", body="abcd"
            ),
            "length list": raw(first, host, auth, kind, "Content-Length: 3, 4", body="abcd"),
            "signed length": raw(first, host, auth, kind, "Content-Length: +3", body="abc"),
            "negative length": raw(first, host, auth, kind, "Content-Length: -1"),
            "huge length": raw(first, host, auth, kind, f"Content-Length: {'9' * 40}"),
            "no host": raw(first, auth, kind, "Content-Length: 0"),
            "two hosts": raw(first, host, "Host: y", auth, kind, "Content-Length: 0"),
            "space before colon": raw(first, host, auth, "Content-Length : 3", body="abc"),
            "folded field": raw(first, host, auth, kind, "X-A: 1\r\n  2", "Content-Length: 0"),
            "bare LF": raw(first, host, auth, kind).replace(b"\r\n", b"\n"),
            "bare CR": raw(first, host, auth, "X-A: 1\rContent-Length: 5"),
            "NUL": raw(first, host, auth, "X-A: a\x00b", "Content-Length: 0"),
            "HTTP/0.9": b"GET /v1/models\r\n\r\n",
            "HTTP/2.0": raw(f"POST {CHAT} HTTP/2.0", host, auth, "Content-Length: 0"),
            "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
            "100,000 fields": raw(first, host, auth, *(f"X-{n}: {n}" for n in range(100_000))),
            "101 fields": raw(first, host, auth, *(f"X-{n}: {n}" for n in range(99))),
            "long field": raw(first, host, auth, f"X-A: {'a' * 40_000}"),
            "long target": raw(f"POST {CHAT}?{'a' * 40_000} HTTP/1.1", host, auth),
            "endless line": b"G" * 200_000,
            "bad chunk": raw(first, host, auth, kind, chunked, body="zz\r\nabc\r\n0\r\n\r\n"),
            "chunk overflow": raw(first, host, auth, kind, chunked, body="ffffffffffffffffff\r\nabc"),
            "long chunk extension": raw(first, host, auth, kind, chunked, body="3;" + "a" * 70_000),
            "compressed": raw(
                first, host, auth, kind, "Content-Encoding: gzip", "Content-Length: 3", body="abc"
            ),
            "two keys": raw(first, host, auth, "X-Api-Key: vl_uk_" + "0" * 48, "Connection: close"),
            "key with a NUL": raw(first, host, "Authorization: Bearer vl_uk_\x01", "Connection: close"),
        }

    def refused(self, name: str, reply: bytes) -> None:
        """Check that the first reply is a refusal, and that there is no other."""
        status = status_of(reply)
        self.assertTrue(400 <= status < 500 or status == 505, f"{name}: {reply[:300]!r}")
        self.assertEqual(len(_STATUS.findall(reply)), 1, f"{name}: {reply[:600]!r}")
        self.assertIn("error", json.loads(reply.split(b"\r\n\r\n", 1)[1]), name)

    def sound(self) -> None:
        """Check that nothing of it all has reached the upstream, and that real work goes on."""
        self.assertEqual(self.mock.get("/__mock/state")["requests_total"], 0)
        self.assertEqual(self.gateway.chat("plain")[0], 200)
        wait_quiet(self.port)
        self.assertEqual(self.gateway.stop(), 0)
        self.assertEqual(faults_in(self.gateway.log.read_text()), [])

    def test_bodies(self) -> None:
        """Bodies that must be refused are refused with a 400 and a row each."""
        ids = []
        for name, body in BODIES.items():
            ids.append(str(uuid.uuid4()))
            reply = self.ask(head(self.key, CHAT, len(body), ids[-1], "Connection: close") + body)
            self.refused(name, reply)
            self.assertIn(status_of(reply), (400, 404), name)
        self.sound()
        rows = sqlite_rows(self.gateway)
        self.assertEqual(set(ids) - set(rows.ids), set())
        self.assertEqual(set(rows.ids.values()), {1})

    def test_messages(self) -> None:
        """Ambiguous messages get one refusal and a closed connection."""
        for name, data in self.smuggled().items():
            reply = self.ask(data)
            if reply or name not in ("100,000 fields", "endless line", "long field", "long target", "TLS"):
                self.refused(name, reply)
        self.sound()

    @pytest.mark.slow
    def test_big_and_slow(self) -> None:
        """A gigabyte is refused unread, a slow body is given up, slow heads keep nobody from being served."""
        reply = self.ask(head(self.key, CHAT, GIGABYTE, str(uuid.uuid4())))
        self.assertEqual(status_of(reply), 413)
        sock = connect(self.port)
        sock.sendall(
            head(self.key, CHAT, 1, "x").replace(b"Content-Length: 1", b"Transfer-Encoding: chunked")
        )
        reply = b""
        try:
            for _ in range(200):
                sock.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        sock.close()
        before = resident_kb(self.gateway.pid)
        heads, bodies = [connect(self.port) for _ in range(20)], [connect(self.port) for _ in range(20)]
        began = time.monotonic()
        for sock in bodies:
            sock.sendall(head(self.key, CHAT, 1000, str(uuid.uuid4())) + b'{"model":')
        replies = [receive_all(sock) for sock in bodies]
        self.assertEqual({status_of(reply) for reply in replies}, {408})
        self.assertLess(time.monotonic() - began, 3)
        # When a head that drips is given up is a matter for a clock: tests/http/test_front_time.py.
        for byte in head(self.key, CHAT, 1000, str(uuid.uuid4()))[:100]:
            for sock in heads:
                sock.sendall(bytes([byte]))
        self.assertEqual(self.gateway.chat()[0], 200)
        for sock in (*heads, *bodies):
            sock.close()
        self.assertLess(resident_kb(self.gateway.pid) - before, MOST_GROWTH_KB)
        self.sound()

    def test_pipelining(self) -> None:
        """Pipelined requests of every kind are answered in order, until one is refused."""
        good, models = chat_body("demo"), raw("GET /v1/models HTTP/1.1", "Host: x", f"X-Api-Key: {self.key}")
        parts: list[tuple[bytes, int]] = [
            (head(self.key, CHAT, len(good), str(uuid.uuid4())) + good, 200),
            (models, 200),
            (raw("GET /healthz HTTP/1.1", "Host: x"), 200),
            (self.body(b'{"Model":"plain"}'), 400),
            (models, 200),
            (raw("GET /nothing HTTP/1.1", "Host: x"), 404),
            (raw("DELETE /v1/models HTTP/1.1", "Host: x", f"X-Api-Key: {self.key}"), 405),
            (self.body(good, "Upgrade: websocket"), 200),
            (models.replace(b"/v1/models", b"/v1/none"), 404),
            (raw("GET /v1/models HTTP/1.1", "Host: x", "Host: y"), 400),
            (models, 0),
        ]
        for cut in (0, 1, 7, 100):
            sock = connect(self.port)
            data = b"".join(part for part, _ in parts)
            if cut:
                sender = threading.Thread(
                    target=lambda sock=sock, cut=cut, data=data: [
                        sock.send(data[n : n + cut]) for n in range(0, len(data), cut)
                    ]
                )
                sender.start()
            else:
                sock.sendall(data)
            reply = receive_all(sock)
            if cut:
                sender.join(20)
            sock.close()
            statuses = [int(found) for found in _STATUS.findall(reply)]
            self.assertEqual(statuses, [status for _, status in parts if status], f"cut {cut}")
        self.sound()

    @pytest.mark.slow
    def test_memory(self) -> None:
        """Two thousand of these leave memory where it was."""
        makers: list[Callable[[], bytes]] = [
            *(
                lambda body=body: self.body(body, "Connection: close")
                for name, body in BODIES.items()
                if name != "huge model"
            ),
            *(lambda data=data: data for data in self.smuggled().values()),
        ]
        for maker in makers * 2:
            self.ask(maker())
        before = resident_kb(self.gateway.pid)
        for number in range(ROUNDS):
            self.ask(makers[number % len(makers)]())
        self.assertLess(resident_kb(self.gateway.pid) - before, MOST_GROWTH_KB)
        self.sound()
