"""Connections that send one request over and over and judge the replies, as ``native/client.h`` does."""

from __future__ import annotations

import re
import select
import socket

from attrs import define, field, frozen

from .wire import Broken, Message, Poller, now_ns

OK, NO_CONNECT, STATUS, LENGTH, BODY, CUT, PROTOCOL, TIMEOUT, LOST = range(9)

_CONNECT_S = 5
_STAMP = re.compile(rb'"t=(\d+) n=(\d+)')


@frozen
class Request:
    """What is sent, and what is expected back.

    :ivar stream: the reply is an event stream.
    """

    port: int
    wire: bytes
    stream: bool


@define(eq=False)
class Connection:
    """One connection; ``sock`` is ``None`` when there is none, ``busy`` while a request is under way."""

    sock: socket.socket | None = None
    connected: bool = False
    busy: bool = False
    listed: bool = False
    intended: int = 0
    sent_at: int = 0
    number: int = 0
    next_event: int = 0
    events: int = 0
    done_seen: bool = False
    disorder: bool = False
    out: bytes = b""
    body: bytes = b""
    message: Message = field(factory=Message)


class Client:
    """Connections on one epoll; what drives them overrides the ``on_`` methods."""

    def __init__(self, request: Request, connections: int) -> None:
        self.request = request
        self.connections = [Connection() for _ in range(connections)]
        self.poller = Poller()
        self.connecting = self.tried = self.reconnects = 0
        self.learned: bytes | None = None
        self._by_fd: dict[int, Connection] = {}

    def on_free(self, connection: Connection) -> None:
        """Give a connection work, or keep it."""

    def on_finished(self, connection: Connection, outcome: int, now: int) -> None:
        """Note what became of a connection's request."""

    def on_no_connection(self, connection: Connection) -> None:
        """Note that a connection could not be made."""

    def on_event(self, connection: Connection, number: int, at: int, now: int) -> None:
        """Note an event of a stream."""

    def between(self) -> None:
        """Do what is due between two events of the loop."""

    def connect_all(self) -> None:
        """Open all connections, a few at a time, for at most five seconds."""
        opened, give_up = 0, now_ns() + _CONNECT_S * 10**9
        while self.tried < len(self.connections) and now_ns() < give_up:
            while opened < len(self.connections) and opened - self.tried < 50:
                self.connect(self.connections[opened])
                opened += 1
            if self.tried < len(self.connections):
                self.wait(give_up)

    def connect(self, connection: Connection) -> None:
        """Begin to connect."""
        sock = connection.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connected = False
        self.connecting += 1
        try:
            sock.connect(("127.0.0.1", self.request.port))
        except BlockingIOError:
            pass
        except OSError:
            self._connected(connection, failed=True)
            return
        self._by_fd[sock.fileno()] = connection
        self.poller.epoll.register(sock, select.EPOLLIN | select.EPOLLOUT)

    def _connected(self, connection: Connection, failed: bool) -> None:
        self.connecting -= 1
        self.tried += 1
        if failed:
            self._close(connection)
            self.on_no_connection(connection)
            return
        assert connection.sock is not None
        connection.connected = True
        self.poller.epoll.modify(connection.sock, select.EPOLLIN)
        self.on_free(connection)

    def _close(self, connection: Connection) -> None:
        if connection.sock is not None:
            self._by_fd.pop(connection.sock.fileno(), None)
            connection.sock.close()
        connection.sock, connection.connected = None, False

    def _renew(self, connection: Connection) -> None:
        self._close(connection)
        self.connect(connection)

    def wait(self, until_ns: int) -> None:
        """Handle what comes, until a moment at the latest."""
        for fd, flags in self.poller.poll(until_ns):
            connection = self._by_fd.get(fd)
            if connection is not None:
                self._ready(connection, flags)
            self.between()

    def send(self, connection: Connection, intended: int, number: int) -> None:
        """Send the request on a free connection."""
        connection.busy, connection.intended, connection.number = True, intended, number
        connection.done_seen = connection.disorder = False
        connection.next_event = connection.events = 0
        connection.body, connection.message = b"", Message()
        connection.out = self.request.wire
        connection.sent_at = now_ns()
        self._write(connection)

    def _write(self, connection: Connection) -> None:
        assert connection.sock is not None
        whole = len(connection.out) == len(self.request.wire)
        try:
            sent = connection.sock.send(connection.out)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # shows when reading
        connection.out = connection.out[sent:]
        if connection.out:
            self.poller.epoll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)
        elif not whole:
            self.poller.epoll.modify(connection.sock, select.EPOLLIN)

    def _ready(self, connection: Connection, flags: int) -> None:
        assert connection.sock is not None
        if not connection.connected:
            problem = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._connected(connection, failed=bool(problem))
            return
        if flags & select.EPOLLOUT and connection.out:
            self._write(connection)
        if not flags & ~select.EPOLLOUT:
            return
        try:
            data = connection.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not connection.busy:
            self.reconnects += 1
            self._renew(connection)
        elif data:
            self._take(connection, data, now_ns())
        else:
            closes = connection.message.until_close
            self.finish(connection, self._judged(connection) if closes else CUT, now_ns())

    def _take(self, connection: Connection, data: bytes, now: int) -> None:
        message = connection.message
        try:
            payload, rest = message.feed(data, reply=True)
            if message.start and message.status != 200:
                self.finish(connection, STATUS, now)
                return
        except Broken:
            self.finish(connection, PROTOCOL, now)
            return
        connection.body += payload
        if self.request.stream:
            *lines, connection.body = connection.body.split(b"\n")
            for line in lines:
                self._event_line(connection, line.rstrip(b"\r"), now)
        if message.complete:
            self.finish(connection, PROTOCOL if rest else self._judged(connection), now)

    def _event_line(self, connection: Connection, line: bytes, now: int) -> None:
        if not line.startswith(b"data: "):
            return
        if line == b"data: [DONE]":
            connection.done_seen = True
            return
        stamp = _STAMP.search(line)
        if stamp is None:
            return
        number = int(stamp[2])
        if number < connection.next_event:
            connection.disorder = True
            return
        connection.events += 1
        self.on_event(connection, number, int(stamp[1]), now)
        connection.next_event = number + 1

    def _judged(self, connection: Connection) -> int:
        if self.request.stream:
            return CUT if not connection.done_seen else BODY if connection.disorder else OK
        if self.learned is None:
            self.learned = connection.body
        if len(connection.body) != len(self.learned):
            return LENGTH
        return OK if connection.body == self.learned else BODY

    def finish(self, connection: Connection, outcome: int, now: int) -> None:
        """End a connection's request; the connection is used again only when nothing is wrong with it."""
        connection.busy = False
        self.on_finished(connection, outcome, now)
        if outcome == OK and connection.message.keep_alive:
            self.on_free(connection)
        else:
            self.reconnects += outcome == OK
            self._renew(connection)
