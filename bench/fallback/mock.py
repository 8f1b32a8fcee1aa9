"""The mock of ``native/mock.c``, with its options and answers: ``python -m bench.fallback.mock``."""

from __future__ import annotations

import argparse
import heapq
import json
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from . import answers
from .wire import Broken, Message, Poller, now_ns, prepare

_BODY_MOST = 4 << 20


class Connection:
    """One caller; a request that comes before the last one is answered waits in ``held``."""

    __slots__ = ("body", "busy", "held", "message", "out", "reply", "sent", "sock", "stream", "usage")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.message = Message()
        self.body = bytearray()
        self.held = self.out = self.reply = b""
        self.busy = self.stream = self.usage = False
        self.sent = 0


class Mock:
    """A mock upstream: one thread, a fixed delay."""

    def __init__(self, delay_us: int, events: int, interval_us: int, reply_bytes: int) -> None:
        self.settings = {"delay_us": delay_us, "interval_us": interval_us, "events": events}
        self.counters = dict.fromkeys(("requests", "streams", "open", "aborted", "calls"), 0)
        self._late_us: deque[float] = deque(maxlen=100_000)
        self._timers = 0
        self._completion = answers.completion(reply_bytes)
        self._poller = Poller()
        self._connections: dict[int, Connection] = {}
        self._due: list[tuple[int, int, Connection]] = []
        self._order = 0
        self._listener = socket.create_server(("127.0.0.1", 0))

    def listen(self, port: int) -> int:
        """Open the port, any with 0, and give it."""
        self._listener.close()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._poller.epoll.register(self._listener, select.EPOLLIN)
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Leave the port to another process that has it too."""
        self._listener.close()
        self._poller.epoll.close()

    def serve(self) -> None:
        """Serve for ever."""
        while True:
            for fd, flags in self._poller.poll(self._due[0][0] if self._due else now_ns() + 10**9):
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._connections:
                    self._ready(self._connections[fd], flags)
            while self._due and self._due[0][0] <= now_ns():
                due, _, connection = heapq.heappop(self._due)
                if connection.busy and connection.sock.fileno() >= 0:
                    self._timers += 1
                    self._late_us.append((now_ns() - due) / 1e3)
                    self._guarded(self._send_due, connection, due)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = Connection(sock)
            self._poller.epoll.register(sock, select.EPOLLIN)
            self.counters["open"] += 1

    def _guarded(self, step: Any, connection: Connection, *arguments: Any) -> None:
        try:
            step(connection, *arguments)
        except (OSError, Broken):
            self._drop(connection)

    def _ready(self, connection: Connection, flags: int) -> None:
        self._guarded(self._serve_ready, connection, flags)

    def _serve_ready(self, connection: Connection, flags: int) -> None:
        if flags & select.EPOLLOUT:
            self._flush(connection)
        if flags & ~select.EPOLLOUT:
            try:
                data = connection.sock.recv(262144)
            except BlockingIOError:
                return
            if not data:
                raise Broken("closed")
            self._take(connection, data)

    def _drop(self, connection: Connection) -> None:
        if self._connections.pop(connection.sock.fileno(), None) is not None:
            self.counters["open"] -= 1
            self.counters["aborted"] += connection.busy
        connection.sock.close()

    def _take(self, connection: Connection, data: bytes) -> None:
        while data:
            if connection.busy:
                connection.held += data
                return
            body, data = connection.message.feed(data, reply=False)
            connection.body += body
            if len(connection.body) > _BODY_MOST:
                raise Broken("body")
            if connection.message.complete:
                self._begin_reply(connection)

    def _begin_reply(self, connection: Connection) -> None:
        message, body = connection.message, bytes(connection.body)
        method, target = [*message.start.split(), b"", b""][:2]
        connection.body.clear()
        connection.stream = False
        if urlsplit(target).path == b"/mcp":
            if method != b"POST":
                return self._answer(connection, answers.REFUSED)
            self.counters["requests"] += 1
            reply, at_once = answers.mcp(body)
            if at_once:
                return self._answer(connection, reply)
            self.counters["calls"] += 1
            connection.reply = reply
        elif method == b"GET":
            return self._answer(connection, self._configure(target.decode("latin-1")))
        else:
            self.counters["requests"] += 1
            start = body[:4096].replace(b" ", b"")
            connection.stream = b'"stream":true' in start
            connection.usage = b'"include_usage":true' in start
            self.counters["streams"] += connection.stream
            connection.reply = self._completion
        connection.busy = True
        connection.sent = 0
        self._schedule(connection, now_ns() + self.settings["delay_us"] * 1000)

    def _schedule(self, connection: Connection, due: int) -> None:
        self._order += 1
        heapq.heappush(self._due, (due, self._order, connection))

    def _send_due(self, connection: Connection, due: int) -> None:
        if connection.stream:
            wire = answers.STREAM_HEAD if connection.sent == 0 else b""
            wire += answers.event(now_ns(), connection.sent)
            connection.sent += 1
            if connection.sent < self.settings["events"]:
                self._schedule(connection, max(due, now_ns() - 10**6) + self.settings["interval_us"] * 1000)
                self._send(connection, wire)
                return
            connection.reply = wire + answers.stream_end(connection.sent, connection.usage)
        connection.busy = False
        self._answer(connection, connection.reply)
        held, connection.held = connection.held, b""
        self._take(connection, held)

    def _answer(self, connection: Connection, wire: bytes) -> None:
        keep_alive, connection.message = connection.message.keep_alive, Message()
        self._send(connection, wire)
        if not keep_alive and not connection.out:
            raise Broken("asked to close")

    def _send(self, connection: Connection, wire: bytes) -> None:
        connection.out += wire
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            sent = connection.sock.send(connection.out)
        except BlockingIOError:
            sent = 0
        had = len(connection.out)
        connection.out = connection.out[sent:]
        if connection.out or had != sent:
            self._poller.epoll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)
        elif had:
            self._poller.epoll.modify(connection.sock, select.EPOLLIN)

    def _configure(self, target: str) -> bytes:
        asked = dict(parse_qsl(urlsplit(target).query))
        for name in self.settings:
            if asked.get(name, "").isdigit():
                self.settings[name] = int(asked[name])
        late = sorted(self._late_us) or [0.0]
        told = {
            **self.counters,
            **self.settings,
            "timers": self._timers,
            "late_p50_us": late[len(late) // 2],
            "late_p99_us": late[len(late) * 99 // 100],
            "late_max_us": late[-1],
            "late_over_1ms": sum(us > 1000 for us in late),
            "cpu_s": time.process_time(),
        }
        if asked.get("reset") == "1":
            self._late_us.clear()
            self._timers = 0
        return answers.reply("200 OK", json.dumps(told).encode() + b"\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="mock", allow_abbrev=False)
    for name, value in (("port", 0), ("delay-us", 10_000), ("events", 20), ("interval-us", 50_000)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--reply-bytes", type=int, default=0)
    told = parser.parse_args(arguments)
    prepare()
    mock = Mock(told.delay_us, told.events, told.interval_us, told.reply_bytes)
    print("listening", mock.listen(told.port), flush=True)
    mock.serve()


if __name__ == "__main__":
    main()
