"""The relay between real processes, which die."""

from __future__ import annotations

import hashlib
import socket
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.link.relay_child import end, spawn
from tests.link.relay_rig import Parent, Worker, channel_and_socket, descriptors, pairs, until
from tests.link.test_relay import ask, get, pattern_of, reply


class ProcessCase(TestCase):
    """This process is one side, a child the other."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.parent_end, self.worker_end, self.listening = channel_and_socket()
        self.port: int = self.listening.getsockname()[1]

    def connect(self) -> socket.socket:
        """Open a blocking connection; it is closed at the end."""
        client = socket.create_connection(("127.0.0.1", self.port), 20)
        self.addCleanup(client.close)
        return client


class DyingParent(ProcessCase):
    """The parent is a child process of the test."""

    async def _start(self) -> tuple[Any, Worker]:
        process = await deferToThread(spawn, "parent", self.parent_end)
        worker = Worker(self.reactor, self.worker_end.detach(), self.listening.detach())
        self.addCleanup(end, process)
        self.addCleanup(worker.stop)
        return process, worker

    async def test_in_the_middle_of_a_reply(self) -> None:
        """A reply that its parent's death cut is cut for the client too, and the next one gets 503."""
        process, worker = await self._start()
        client = self.connect()
        client.sendall(get("/hang"))
        while not (await deferToThread(client.recv, 65536)).endswith(b"begin"):
            pass
        process.kill()
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.recv, 65536)
        client = self.connect()
        client.sendall(get("/echo"))
        head, _ = await deferToThread(reply, client)
        self.assertTrue(head.startswith(b"HTTP/1.1 503"), head)
        client.close()
        await until(self.reactor, lambda: not worker.members and not pairs(self.reactor), "the end of all")


class DyingWorker(ProcessCase):
    """The worker is a child process of the test."""

    async def test_replies_across_processes(self) -> None:
        """Large replies and both addresses come through as in one process."""
        parent = Parent(self.reactor)
        parent.listen(self.parent_end)
        self.addCleanup(parent.stop)
        process = await deferToThread(spawn, "worker", self.worker_end, self.listening)
        self.addCleanup(end, process)
        client = self.connect()
        said = await deferToThread(ask, client, get("/echo"))
        self.assertEqual(said["peer"], ["IPv4Address", *client.getsockname()])
        client.sendall(get("/big/3000000"))
        _, body = await deferToThread(reply, client)
        self.assertEqual(hashlib.sha256(body).digest(), hashlib.sha256(pattern_of(3_000_000)).digest())

    async def test_nothing_is_left(self) -> None:
        """A killed worker leaves no connection, no listener and no descriptor behind."""
        parent = Parent(self.reactor)
        listener = parent.listen(self.parent_end)
        process = await deferToThread(spawn, "worker", self.worker_end, self.listening)
        self.addCleanup(end, process)
        before = descriptors()
        clients = [self.connect() for _ in range(20)]
        for client in clients:
            client.sendall(get("/hang"))
        await until(self.reactor, lambda: len(parent.hang.requests) == 20, "the requests")
        process.kill()
        await until(self.reactor, lambda: parent.hang.gone == 20, "the Site to know")
        await until(self.reactor, lambda: listener.fileno() == -1 and not listener.connections, "the end")
        for client in clients:
            client.close()
        # The channel's end has gone too.
        self.assertEqual(descriptors(), before - 1)
