"""A text that nobody else would write goes through everything, and must rest nowhere."""

from __future__ import annotations

import base64
import json
import re
import signal
import threading
import uuid
from pathlib import Path
from typing import Any, Iterator

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import chat_body, connect, head, mock_model, receive_all, reset, status_of
from tests.harness import Gateway, MockLLM, custom_model, free_port, request, wait_until
from tests.servers import PostgresServer
from tests.workers.support import workers_of

CHAT = "/v1/chat/completions"
CANARY = "canary4f1d9e77b2c8a360"
FORMS = tuple(
    form.lower()
    for form in (
        CANARY.encode(),
        CANARY[::-1].encode(),
        CANARY.encode().hex().encode(),
        CANARY.encode("utf-16-le"),
        # Base64 without the ends, which depend on what is around it, at each of the three offsets.
        *(base64.b64encode(bytes(n) + CANARY.encode())[4:-4] for n in range(3)),
    )
)
#: A part of the canary is as bad: it may have been cut.
PIECE = re.compile(b"canary4f1d9e|f1d9e77b2c8a360")

#: Faults of an upstream that answers with the caller's own text, and of one that does not.
ECHO = "mock-echo"
FAULTS = (
    "status-400",
    "status-401",
    "status-404",
    "status-429-7",
    "status-500",
    "status-529",
    "redirect",
    "gzip",
    "drop",
    "droprst",
    "cuthead",
    "badhead",
    "cut-3",
    "reset-3",
    "nodone",
    "badchunk-2",
    "badframing",
    "errorevent-2",
    "stall-2",
    "never",
    "hugeline-5000000",
    "bighead-100000",
    "extra",
    "cookie",
    "multiline+crlf",
    "disposition",
    f"reqid-{CANARY}",
)


class BrokenUpstream:
    """Answers with the canary where the mock cannot: in heads, error bodies and broken pieces."""

    REPLIES = {
        "reason": f"HTTP/1.1 500 {CANARY}\r\nContent-Length: 0\r\n\r\n",
        "field": f"HTTP/1.1 200 OK\r\nX-{CANARY}: {CANARY}\r\nSet-Cookie: {CANARY}\r\n"
        "Content-Length: 2\r\n\r\n{}",
        "type": f"HTTP/1.1 200 OK\r\nContent-Type: text/{CANARY}\r\nContent-Length: 2\r\n\r\n{{}}",
        "not http": f"{CANARY}\r\n\r\n",
        "version": f"HTTP/{CANARY} 200 OK\r\n\r\n",
        "status": f"HTTP/1.1 {CANARY} OK\r\n\r\n",
        "length": f"HTTP/1.1 200 OK\r\nContent-Length: {CANARY}\r\n\r\n",
        "name": f"HTTP/1.1 200 OK\r\n{CANARY}\x01: a\r\n\r\n",
        "coding": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {CANARY}\r\n\r\n",
        "location": f"HTTP/1.1 302 Found\r\nLocation: http://{CANARY}.example/\r\nContent-Length: 0\r\n\r\n",
        "error": "HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        + json.dumps({"error": {"message": CANARY, "type": CANARY, "code": CANARY, "param": CANARY}}),
        "html": f"HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>{CANARY}</p>",
        "json": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        f'{{"choices":"{CANARY}',
        "usage": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        f'{{"model":"{CANARY}","usage":{{"prompt_tokens":"{CANARY}","completion_tokens":{{"{CANARY}":1}}}}}}',
        "chunk": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        f"{CANARY}\r\n",
        "event": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        f'event: {CANARY}\ndata: {{"choices":[{{"delta":{{"content":"{CANARY}"}}}}],'
        f'"usage":{{"prompt_tokens":"{CANARY}"}}}}\n\ndata: {{"{CANARY}',
        "in-band": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        f'data: {{"error":{{"message":"{CANARY}","code":"{CANARY}"}}}}\n\n',
    }

    def __init__(self) -> None:
        import socket

        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                try:
                    sock.settimeout(10)
                    seen = sock.recv(1 << 16)
                    while b"\r\n\r\n" not in seen:
                        seen += sock.recv(1 << 16)
                    # The first word of the path says which reply is wanted.
                    name = seen.split(b" ", 2)[1].split(b"/")[1].decode().replace("%20", " ")
                    sock.sendall(self.REPLIES[name].encode())
                    sock.shutdown(1)
                    while sock.recv(1 << 16):
                        pass
                except OSError:
                    continue

    def stop(self) -> None:
        """Listen no longer."""
        self._listener.shutdown(2)
        self._listener.close()
        self._thread.join(15)

    def models(self) -> list[dict[str, Any]]:
        """Describe one model for each reply."""
        return [
            custom_model(f"broken-{n}", f"http://127.0.0.1:{self.port}/{name.replace(' ', '%20')}")
            for n, name in enumerate(self.REPLIES)
        ]


def secret_chat(model: str, **more: Any) -> dict[str, Any]:
    """Give a chat request with the canary wherever a caller may put content."""
    call = {
        "id": CANARY,
        "type": "function",
        "function": {"name": CANARY, "arguments": f'{{"a":"{CANARY}"}}'},
    }
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": CANARY, "name": CANARY},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": CANARY, "content": CANARY},
            {"role": "user", "content": f"echo:{CANARY} and {CANARY}"},
        ],
        "tools": [{"type": "function", "function": {"name": CANARY, "description": CANARY}}],
        "tool_choice": "none",
        "user": CANARY,
        "metadata": {CANARY: CANARY},
        **more,
    }


class Traffic:
    """Sends the canary through a gateway in every way there is."""

    def __init__(self, gateway: Gateway, models: list[str]) -> None:
        self._gateway = gateway
        self._models = models
        self._fields = {"user-agent": CANARY, "x-custom": CANARY, "cookie": CANARY, "referer": CANARY}

    def everything(self) -> set[int]:
        """Send it all; gives the statuses that came back."""
        return {*self._proxied(), *self._refused(), *self._uploads(), *self._left(), *self._elsewhere()}

    def _post(self, path: str, value: Any, **fields: str) -> int:
        return self._gateway.post(path, value, {**self._fields, **fields}, timeout_s=20)[0]

    def _proxied(self) -> Iterator[int]:
        for model in self._models:
            for stream in (False, True):
                data = json.dumps(secret_chat(model, stream=stream)).encode()
                sock = connect(self._gateway.port)
                extra = (f"X-Custom: {CANARY}", "Connection: close")
                sock.sendall(head(self._gateway.key, CHAT, len(data), CANARY, *extra) + data)
                yield status_of(receive_all(sock))
                sock.close()
        for path, value in (
            ("/v1/embeddings", {"input": [CANARY]}),
            ("/v1/completions", {"prompt": CANARY}),
            ("/v1/responses", {"input": CANARY, "instructions": CANARY}),
            ("/v1/responses", {"input": f"echo:{CANARY}", "stream": True}),
            ("/v1/moderations", {"input": CANARY}),
            ("/v1/rerank", {"query": CANARY, "documents": [CANARY]}),
            ("/v1/images/generations", {"prompt": CANARY}),
            ("/v1/audio/speech", {"input": CANARY, "voice": CANARY}),
        ):
            yield self._post(path, {"model": "echo", **value})

    def _refused(self) -> Iterator[int]:
        whole = json.dumps(secret_chat("echo")).encode()
        for bad in (
            whole[:-30],
            whole.replace(b'"model"', b'"Model"'),
            whole[:-1] + b',"model":"' + CANARY.encode() + b'"}',
            whole.replace(CANARY.encode(), CANARY.encode() + b"\xff", 1),
            whole[:-1] + b',"' + CANARY.encode() + b'":' + b"[" * 100_000,
            whole[:-1] + b',"' + CANARY.encode() + b'":1,"' + CANARY.encode() + b'":2}',
            CANARY.encode(),
            json.dumps(secret_chat(CANARY)).encode(),
            json.dumps(secret_chat("echo", stream=CANARY)).encode(),
            json.dumps(secret_chat("echo", stream_options=CANARY, max_tokens=CANARY)).encode(),
        ):
            yield self._post(CHAT, bad)
        yield self._post(CHAT, whole, **{"content-encoding": CANARY})
        yield self._post(CHAT, whole, **{"x-api-key": CANARY})
        yield self._post(CHAT, whole, **{"authorization": f"Bearer {CANARY}"})
        yield self._post(CHAT, whole, **{"expect": CANARY})
        yield self._post(CHAT, b"x" * (21 << 20))
        key = self._gateway.cli("keys", "create", "-q", "--name", "small", "--tokens-per-day", "1").strip()
        yield self._post(CHAT, whole, authorization=f"Bearer {key}")

    def _uploads(self) -> Iterator[int]:
        file = (CANARY.encode() + b"\n") * 100_000
        disposition = b"Content-Disposition: form-data; name="
        for model in (b"echo", b"stalling", CANARY.encode(), None):
            parts = [disposition + b'"file"; filename="' + CANARY.encode() + b'"\r\n\r\n' + file]
            parts.append(disposition + b'"prompt"\r\n\r\n' + CANARY.encode())
            if model is not None:
                parts.append(disposition + b'"model"\r\n\r\n' + model)
            for boundary, cut in ((CANARY.encode(), None), (b"frontier", -40)):
                body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
                body += b"--" + boundary + b"--\r\n"
                kind = f"multipart/form-data; boundary={boundary.decode()}"
                yield self._post("/v1/audio/transcriptions", body[:cut], **{"content-type": kind})

    def _left(self) -> Iterator[int]:
        for model, stream, read in (("never", False, 0), ("ticking", True, 300), ("ticking", True, 3000)):
            data = json.dumps(secret_chat(model, stream=stream)).encode()
            for cut in (None, -50):
                sock = connect(self._gateway.port)
                sock.sendall(head(self._gateway.key, CHAT, len(data), str(uuid.uuid4())) + data[:cut])
                if read and cut is None:
                    sock.recv(read)
                reset(sock)
        yield 499

    def _elsewhere(self) -> Iterator[int]:
        port = self._gateway.port
        for path in (
            f"/v1/{CANARY}",
            f"/v1/models/{CANARY}",
            f"/{CANARY}",
            f"/api/v1/{CANARY}",
            f"/v1/models?{CANARY}",
        ):
            headers = {"authorization": f"Bearer {self._gateway.key}", "x-a": CANARY}
            yield request(port, "GET", path, headers=headers)[0]
            yield request(port, CANARY, path, headers=headers)[0]
        for raw in (
            f"POST {CHAT} {CANARY}\r\n\r\n",
            f"POST /{CANARY} HTTP/1.1\r\nHost: {CANARY}\r\nHost: a\r\n\r\n",
            f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {CANARY}\r\n\r\n",
            f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Length: {CANARY}\r\n\r\n",
            f"POST {CHAT} HTTP/1.1\r\nHost: a\r\n{CANARY} : a\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\n{CANARY}\r\n\r\n",
            f"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: {CANARY}\x00\r\n\r\n",
        ):
            sock = connect(port)
            sock.sendall(raw.encode("latin-1"))
            yield status_of(receive_all(sock))
            sock.close()


class CanaryBase:
    """What both stores have in common."""

    def prepare(self: Any, **settings: Any) -> None:
        """Start upstreams and gateway, with everything that is said being logged."""
        self.mock = MockLLM("--remember", "10")
        self.addCleanup(self.mock.stop)
        self.broken = BrokenUpstream()
        self.addCleanup(self.broken.stop)
        url = self.mock.base_url
        faulty = [mock_model(f"fault-{n}", url, fault) for n, fault in enumerate(FAULTS)]
        models = [
            custom_model("echo", url, upstream_model=ECHO),
            *faulty,
            *self.broken.models(),
            custom_model("nobody", f"http://127.0.0.1:{free_port()}/v1"),
            mock_model("stalling", url, "never"),
            mock_model("ticking", url, "interval-5+words-4000"),
            mock_model("never", url, "never"),
        ]
        self.gateway = Gateway(
            self.mktemp(),
            models,
            logging={"level": "debug"},
            upstream={"head_timeout": "300ms", "connect_timeout": "300ms"},
            stream={"idle_timeout": "300ms"},
            settings={"usage": {"flush_interval": "50ms"}},
            **settings,
        ).start()
        self.addCleanup(self.gateway.kill)
        self.models = ["demo", "echo", "nobody", *(m["name"] for m in (*faulty, *self.broken.models()))]

    def drill(self: Any) -> None:
        """Send everything, look, kill in flight, look, restart, look."""
        statuses = Traffic(self.gateway, self.models).everything()
        self.assertEqual({200, 400, 401, 404, 413, 429, 502} - statuses, set())
        self.look()
        open_calls = []
        for model in ("ticking", "never", "demo"):
            data = json.dumps(secret_chat(model, stream=True)).encode()
            sock = connect(self.gateway.port)
            sock.sendall(head(self.gateway.key, CHAT, len(data), str(uuid.uuid4())) + data)
            open_calls.append(sock)
        # An upload whose file waits, encrypted, for the model's name.
        file = (CANARY.encode() + b"\n") * 100_000
        upload = connect(self.gateway.port)
        fields = f"Content-Type: multipart/form-data; boundary={CANARY}\r\nContent-Length: 9000000\r\n"
        first = f"POST /v1/audio/translations HTTP/1.1\r\nHost: a\r\nX-Api-Key: {self.gateway.key}\r\n"
        upload.sendall(
            f"{first}{fields}\r\n"
            f'--{CANARY}\r\nContent-Disposition: form-data; name="file"; filename="{CANARY}"\r\n\r\n'.encode()
            + file
        )
        open_calls[0].recv(1000)
        wait_until(lambda: self.mock.get("/__mock/state")["in_flight"] >= 2, "calls to be in flight")
        self.look()
        self.gateway.kill()
        self.look(running=False)
        for sock in (*open_calls, upload):
            sock.close()
        self.gateway.start()
        self.gateway.chat()
        self.look()
        # What a full stop writes, with calls that are cut by a second signal.
        sock = connect(self.gateway.port)
        data = json.dumps(secret_chat("ticking", stream=True)).encode()
        sock.sendall(head(self.gateway.key, CHAT, len(data), str(uuid.uuid4())) + data)
        sock.recv(1000)
        self.gateway.signal(signal.SIGTERM)
        self.gateway.signal(signal.SIGTERM)
        self.gateway.wait(10)
        sock.close()
        self.look(running=False)

    def look(self: Any, running: bool = True) -> None:
        """Search everything that outlives a request."""
        found: list[str] = []
        for path in (self.gateway.log, *Path(self.gateway.state_dir).rglob("*")):
            if path.is_file():
                found += self.search(str(path), path.read_bytes())
        if running:
            found += self.search("/metrics", request(self.gateway.port, "GET", "/metrics")[2])
            found += self.search("usage", self.gateway.cli("usage", "--json").encode())
        found += self.search("database", self.database())
        self.assertEqual(found, [])

    def search(self: Any, where: str, data: bytes) -> list[str]:
        """Give the places around each find."""
        lower = data.lower()
        spots = [lower.find(form) for form in FORMS] + [m.start() for m in PIECE.finditer(lower)]
        return [f"{where}: {data[max(0, spot - 200) : spot + 60]!r}" for spot in spots if spot >= 0][:3]

    def database(self: Any) -> bytes:
        """Give what only a server can tell."""
        return b""


class SqliteCanaryTests(CanaryBase, SynchronousTestCase):
    """On SQLite: database, write-ahead log, journal, log, metrics."""

    def test_everywhere(self) -> None:
        """The canary rests nowhere."""
        self.prepare()
        self.drill()

    def test_search_finds(self) -> None:
        """What is searched for is found, or the other tests say nothing."""
        for form in FORMS:
            self.assertTrue(self.search("here", b"..." + form.upper() + b"..."))
        self.assertTrue(self.search("here", base64.b64encode(b"ab" + CANARY.encode() + b"cd")))
        self.assertTrue(self.search("here", chat_body("demo", CANARY)))


@pytest.mark.slow
class TreqCanaryTests(CanaryBase, SynchronousTestCase):
    """Through treq, and twisted.web in front."""

    def test_everywhere(self) -> None:
        """The canary rests nowhere."""
        self.prepare(server={"front": "twisted"})
        self.gateway.stop()
        text = self.gateway.config.read_text().replace("upstream:\n", "upstream:\n  engine: treq\n", 1)
        self.gateway.config.write_text(text)
        self.gateway.start()
        self.drill()


@pytest.mark.slow
class WorkersCanaryTests(CanaryBase, SynchronousTestCase):
    """With two workers: their journals and log lines, and what /proc shows of them."""

    def test_everywhere(self) -> None:
        """The canary rests nowhere."""
        self.prepare(workers=2)
        self.drill()

    def database(self) -> bytes:
        """Give what anybody can read of the running processes."""
        pids = [self.gateway.pid, *workers_of(self.gateway.pid)] if self.gateway.runs else []
        return b"".join(
            Path(f"/proc/{pid}/{name}").read_bytes()
            for pid in pids
            for name in ("cmdline", "environ", "comm")
        )


@pytest.mark.slow
class PostgresCanaryTests(CanaryBase, SynchronousTestCase):
    """On PostgreSQL: every column that holds text, and the server's own log."""

    def test_everywhere(self) -> None:
        """The canary rests nowhere."""
        self.server = PostgresServer()
        self.addCleanup(self.server.remove)
        self.server.start()
        self.dsn = self.server.create_database()
        self.server.execute("ALTER SYSTEM SET log_statement = 'all'")
        self.server.execute("SELECT pg_reload_conf()")
        self.prepare(database={"driver": "postgres", "dsn": self.dsn})
        self.drill()

    def database(self) -> bytes:
        """Give every row of every table, and everything that the server has logged."""
        tables = self.server.execute(
            "SELECT quote_ident(table_name) FROM information_schema.tables "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
            self.dsn,
        )
        self.assertGreater(len(tables), 5)
        rows = [self.server.execute(f"SELECT t::text FROM {name} t", self.dsn) for (name,) in tables]
        return repr(rows).encode() + self.server._log.read_bytes()
