"""Frames and channel messages, as they are and as nobody should send them."""

from __future__ import annotations

import array
import os
import socket
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.link.relay_rig import descriptors
from voidllm.link.relay_frames import END, MAX_PAYLOAD, REFUSED, FramingSocket, Unframer
from voidllm.link.relay_listener import RelayListener
from voidllm.link.relay_wire import Handed, Malformed, address, relay_channel

HANDED = Handed(1, False, "192.0.2.1", 1234, "192.0.2.2", 80)


class Framing(SynchronousTestCase):
    def _pair(self) -> tuple[FramingSocket, socket.socket]:
        near, far = socket.socketpair()
        framing = FramingSocket(far.detach())
        framing.setblocking(False)
        near.setblocking(False)
        self.addCleanup(near.close)
        self.addCleanup(framing.close)
        return framing, near

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.one_of(st.binary(max_size=50), st.integers(MAX_PAYLOAD - 2, 300_000).map(bytes)), max_size=4
        ),
        st.sampled_from((END, REFUSED)),
        st.integers(1, 70_000),
    )
    def test_round_trip(self, pieces: list[bytes], mark: int, chunk: int) -> None:
        """Whatever is sent arrives, however little is taken and read at a time, and the mark after it."""
        framing, near = self._pair()
        unframer, got = Unframer(), bytearray()
        data, marked = b"".join(pieces), False
        while not marked:
            try:
                if data:
                    data = data[framing.send(data) :]
                    continue
                marked = framing.mark(mark)
            except BlockingIOError:
                pass
            try:
                while True:
                    got += unframer.feed(near.recv(chunk))
            except BlockingIOError:
                pass
        self.assertEqual(bytes(got), b"".join(pieces))
        self.assertEqual(unframer.mark, mark)

    @given(st.lists(st.binary(min_size=1, max_size=9), max_size=9))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """No bytes are an error, and nothing counts after a mark."""
        unframer = Unframer()
        for piece in pieces:
            ended = unframer.mark is not None
            payload = unframer.feed(piece)
            self.assertLessEqual(len(payload), len(piece))
            if ended:
                self.assertEqual(payload, b"")

    def test_worker_gone(self) -> None:
        """A mark for nobody is an error."""
        framing, near = self._pair()
        near.close()
        with self.assertRaises(OSError):
            framing.mark(END)


class Addresses(SynchronousTestCase):
    def test_kinds(self) -> None:
        """Addresses of both families and of none become Twisted's; anything else is refused."""
        self.assertEqual(address("192.0.2.1", 5), IPv4Address("TCP", "192.0.2.1", 5))
        self.assertEqual(address("fe80::1%lo", 5), IPv6Address("TCP", "fe80::1%lo", 5))
        self.assertEqual(address("", 0), UNIXAddress(None))
        for wrong in ("localhost", "1.2.3", "300.1.1.1", "::g"):
            with self.assertRaises(Malformed):
                address(wrong, 1)


class Nobody:
    """A factory that is asked for a protocol and has none."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.running = 0

    def doStart(self) -> None:
        """Begin."""
        self.running += 1

    def doStop(self) -> None:
        """End."""
        self.running -= 1

    def buildProtocol(self, addr: Any) -> None:
        """Give nothing."""
        self.asked.append(addr)


class Readers:
    """What of a reactor a listener uses."""

    def __init__(self) -> None:
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """Begin to watch."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """Watch no more."""
        if reader in self.readers:
            self.readers.remove(reader)


class Hostile(SynchronousTestCase):
    """A channel on which anything may come."""

    def setUp(self) -> None:
        self.before = descriptors()
        parent, self.channel = relay_channel()
        self.reactor, self.factory = Readers(), Nobody()
        self.listener = RelayListener(self.reactor, parent.detach(), self.factory)
        self.listener.start()
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def tearDown(self) -> None:
        self.listener.stop()
        self.channel.close()
        self.assertEqual(descriptors(), self.before)
        self.assertEqual(self.factory.running, 0)

    def _send(self, message: bytes, *fds: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.channel.sendmsg([message], rights)

    def _good(self) -> socket.socket:
        near, far = socket.socketpair()
        with far:
            self._send(msgspec.msgpack.encode(HANDED), far.fileno())
        return near

    def test_malformed_messages(self) -> None:
        """What is no connection is dropped with its descriptors, said once, and the next one is taken."""
        good = msgspec.msgpack.encode(HANDED)
        fields = list(msgspec.to_builtins(HANDED))
        wrong = [
            b"x",
            b"\xff" * 600,
            good[:-1],
            good + b"\0",
            good.ljust(600, b"\0"),
            *(
                msgspec.msgpack.encode([*fields[:at], bad, *fields[at + 1 :]])
                for at, bad in (
                    (0, -1),
                    (0, 1 << 40),
                    (1, 2),
                    (2, "host"),
                    (2, "1" * 65),
                    (3, 65536),
                    (4, None),
                )
            ),
            msgspec.msgpack.encode(fields[:-1]),
            msgspec.msgpack.encode([*fields, 1]),
        ]
        near, far = socket.socketpair()
        for message in wrong:
            self._send(message, far.fileno())
            self.assertIsNone(self.listener.doRead())
        self._send(good)
        self._send(good, far.fileno(), far.fileno())
        self._send(good, *[far.fileno()] * 30)
        self.assertIsNone(self.listener.doRead())
        near.close()
        far.close()
        self.assertEqual(self.factory.asked, [])
        self._good().close()
        self.assertIsNone(self.listener.doRead())
        self.assertEqual(len(self.factory.asked), 1)
        said = [event for event in self.events if "relay channel" in event.get("text", "")]
        self.assertEqual(len(said), 1)

    def test_wrong_descriptors(self) -> None:
        """What is not a connected stream of the right family is closed."""
        good = msgspec.msgpack.encode(HANDED)
        null = os.open(os.devnull, os.O_RDWR)
        unconnected = socket.socket(socket.AF_UNIX)
        tcp = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(tcp.getsockname())
        datagrams = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for fd in (null, unconnected.fileno(), tcp.fileno(), client.fileno(), datagrams[0].fileno()):
            self._send(good, fd)
        self.assertIsNone(self.listener.doRead())
        self.assertEqual(self.factory.asked, [])
        os.close(null)
        for one in (unconnected, tcp, client, *datagrams):
            one.close()

    def test_no_protocol(self) -> None:
        """A connection that the factory does not want is refused in so many words."""
        near = self._good()
        self.listener.doRead()
        unframer = Unframer()
        unframer.feed(near.recv(10))
        self.assertEqual(unframer.mark, REFUSED)
        near.close()

    def test_end(self) -> None:
        """A channel that was closed is no longer read from, after what was sent before."""
        self._good().close()
        self.channel.close()
        lost = self.listener.doRead()
        self.assertIsInstance(lost, ConnectionDone)
        self.assertEqual(len(self.factory.asked), 1)
        self.listener.connectionLost(None)  # type: ignore[arg-type]
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual(self.listener.fileno(), -1)
