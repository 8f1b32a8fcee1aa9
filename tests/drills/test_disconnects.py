"""Two hundred clients that leave at any moment."""

from __future__ import annotations

import random
import socket
import threading
import time
import uuid
from typing import Callable

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.drills.support import (
    chat_body,
    connect,
    descriptors,
    faults_in,
    head,
    journal_bytes,
    metrics,
    mock_model,
    reset,
    sqlite_rows,
    wait_quiet,
)
from tests.harness import Gateway, MockLLM, wait_until

DISCONNECTS = 200
WORKERS = 8
CHAT = "/v1/chat/completions"
BOUNDARY = "frontier"


class Leaver:
    """Begins a request and leaves it in one of the phases.

    :ivar heads: ids of requests whose head was sent whole.
    :ivar due: those of them that must have a row: whole, or at least not reset before they were read.
    """

    def __init__(self, gateway: Gateway, seed: int, at_head: bool) -> None:
        # twisted.web looks at a request when all of it is there, and who left before was nobody.
        self._at_head = at_head
        self._port = gateway.port
        self._key = gateway.key
        self._rng = random.Random(seed)
        self.heads: set[str] = set()
        self.due: set[str] = set()

    def in_head(self) -> None:
        """Leave within the head: nobody knows who it was."""
        sock = connect(self._port)
        whole = head(self._key, CHAT, 10, str(uuid.uuid4()))
        sock.sendall(whole[: self._rng.randrange(1, len(whole) - 2)])
        self._leave(sock)

    def in_body(self) -> None:
        """Leave within the body."""
        sock, request_id = connect(self._port), str(uuid.uuid4())
        body = chat_body("plain", "x" * 100_000)
        self.heads.add(request_id)
        sock.sendall(head(self._key, CHAT, len(body), request_id))
        sock.sendall(body[: self._rng.randrange(0, len(body) - 1)])
        self._leave(sock, request_id)

    def in_upload(self) -> None:
        """Leave within a file that is streaming through, or that is held back until the model is known."""
        sock, request_id = connect(self._port), str(uuid.uuid4())
        model = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nplain\r\n'
        file = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
            "Content-Type: audio/wav\r\n\r\n"
        )
        parts = [model, file] if self._rng.random() < 0.5 else [file]
        lines = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\n"
        lines += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: 4000000\r\n"
        self.heads.add(request_id)
        sock.sendall(f"{lines}X-Request-Id: {request_id}\r\n\r\n{''.join(parts)}".encode())
        sock.sendall(bytes(self._rng.randrange(0, 3_000_000)))
        self._leave(sock, request_id)

    def before_reply(self) -> None:
        """Leave while the upstream has not answered."""
        self._whole("never", stream=self._rng.random() < 0.5).leave(self._pause)

    def between_events(self) -> None:
        """Leave in the middle of a stream."""
        self._whole("ticking", stream=True).leave(lambda sock: self._read(sock, 4000))

    def held_back(self) -> None:
        """Leave a stream that was paused because nobody read it."""
        self._whole("flood", stream=True, slow=True).leave(lambda sock: time.sleep(0.1))

    def in_reply(self) -> None:
        """Leave a long reply that does not stream."""
        self._whole("flood", stream=False, slow=True).leave(lambda sock: self._read(sock, 200_000))

    def after_done(self) -> None:
        """Leave as soon as ``[DONE]`` is there."""
        self._whole("plain", stream=True).leave(lambda sock: self._until(sock, b"[DONE]"))

    def half_closed(self) -> None:
        """Say that nothing more will be sent, then leave."""

        def half(sock: socket.socket) -> None:
            sock.shutdown(socket.SHUT_WR)
            self._pause(sock)

        self._whole("ticking", stream=self._rng.random() < 0.5).leave(half)

    def pipelined(self) -> None:
        """Leave with a second request queued behind a running one."""
        later = str(uuid.uuid4())
        body = chat_body("plain")

        def queue(sock: socket.socket) -> None:
            self.heads.add(later)
            sock.sendall(head(self._key, CHAT, len(body), later) + body)
            self._pause(sock)

        self._whole("never", stream=False).leave(queue)

    def _whole(self, model: str, stream: bool, slow: bool = False) -> _Begun:
        sock, request_id = connect(self._port, 4096 if slow else 0), str(uuid.uuid4())
        body = chat_body(model, stream=stream)
        self.heads.add(request_id)
        sock.sendall(head(self._key, CHAT, len(body), request_id) + body)
        self.due.add(request_id)
        return _Begun(self, sock)

    def _pause(self, sock: socket.socket) -> None:
        time.sleep(self._rng.uniform(0, 0.08))

    def _read(self, sock: socket.socket, most: int) -> None:
        left = self._rng.randrange(1, most)
        while left > 0 and (data := sock.recv(min(left, 4096))):
            left -= len(data)

    def _until(self, sock: socket.socket, end: bytes) -> None:
        seen = b""
        while end not in seen and (data := sock.recv(4096)):
            seen += data

    def _leave(self, sock: socket.socket, request_id: str = "") -> None:
        if self._rng.random() < 0.5:
            reset(sock)
            return
        sock.close()
        if request_id and self._at_head:
            self.due.add(request_id)

    def in_random_order(self, count: int) -> list[Callable[[], None]]:
        """Give ``count`` moments to leave at, each kind about equally often."""
        phases = [
            self.in_head,
            self.in_body,
            self.in_upload,
            self.before_reply,
            self.between_events,
            self.held_back,
            self.in_reply,
            self.after_done,
            self.half_closed,
            self.pipelined,
        ]
        self._rng.shuffle(phases)
        return (phases * (count // len(phases) + 1))[:count]


class _Begun:
    """A request that was sent whole."""

    def __init__(self, leaver: Leaver, sock: socket.socket) -> None:
        self._leaver = leaver
        self._sock = sock

    def leave(self, when: Callable[[socket.socket], None]) -> None:
        """Wait for the moment, then leave."""
        when(self._sock)
        self._leaver._leave(self._sock)


@pytest.mark.slow
class DisconnectTests(SynchronousTestCase):
    """A client that leaves takes everything with it but its usage row."""

    def test_two_hundred(self) -> None:
        """Nothing stays open, and each request that was authenticated has one row."""
        self._drill("auto")

    def test_two_hundred_through_treq(self) -> None:
        """The same, with treq for every upstream call, and twisted.web in front."""
        self._drill("treq", "twisted")

    def _drill(self, engine: str, front: str = "fast") -> None:
        mock = MockLLM("--remember", "2000")
        self.addCleanup(mock.stop)
        models = [
            mock_model("plain", mock.base_url),
            mock_model("never", mock.base_url, "never"),
            mock_model("ticking", mock.base_url, "interval-5+words-400"),
            mock_model("flood", mock.base_url, "words-40000"),
        ]
        gateway = Gateway(self.mktemp(), models, upstream={"engine": engine}, server={"front": front})
        gateway.start()
        self.addCleanup(gateway.kill)
        gateway.chat("plain")
        wait_until(lambda: mock.get("/__mock/state")["connections_open"] <= 1, "idle connections to expire")
        wait_quiet(gateway.port)
        before = descriptors(gateway.pid)

        leavers = [Leaver(gateway, seed, front == "fast") for seed in range(WORKERS)]
        errors: list[BaseException] = []

        def run(leaver: Leaver) -> None:
            try:
                for phase in leaver.in_random_order(DISCONNECTS // WORKERS):
                    phase()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(leaver,)) for leaver in leavers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])

        wait_quiet(gateway.port)
        wait_until(lambda: mock.get("/__mock/state")["in_flight"] == 0, "upstream calls to end")
        wait_until(lambda: descriptors(gateway.pid) <= before, "descriptors to be closed")
        now = metrics(gateway.port)
        self.assertEqual(now['voidllm_upstream_connections{state="busy"}'], 0)
        self.assertEqual(now["voidllm_upstream_waiting"], 0)
        self.assertEqual(gateway.chat("plain")[0], 200)
        seen = {
            value
            for one in mock.get("/__mock/requests?last=2000")
            for name, value in one["headers"]
            if name == "x-request-id"
        }
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(journal_bytes(gateway), 0)
        rows = sqlite_rows(gateway)
        heads = set().union(*(leaver.heads for leaver in leavers))
        due = set().union(*(leaver.due for leaver in leavers))
        self.assertEqual(set(rows.ids.values()), {1})
        self.assertEqual((due | seen) - set(rows.ids), set())
        # The two that were not left.
        self.assertEqual(len(set(rows.ids) - heads), 2)
        self.assertEqual(rows.detail, rows.counted)
        delivered = [row for row in rows.all if row[4] and row[1] == 200 and row[2] == "client_closed"]
        self.assertEqual({row[3] for row in delivered} - {"provider_partial", "estimated"}, set())
        self.assertGreater(len(delivered), 10)
        self.assertEqual(faults_in(gateway.log.read_text()), [])
