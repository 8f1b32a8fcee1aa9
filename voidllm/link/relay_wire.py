"""What goes over the relay channel: one message for each connection, with its descriptor.

The channel is a socketpair of ``SOCK_SEQPACKET``: a message arrives whole or not at all, and the
descriptor with it.
"""

from __future__ import annotations

import array
import os
import socket
from typing import Annotated, TypeAlias

import msgspec
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from voidllm.link.relay_frames import FramingSocket

Address: TypeAlias = IPv4Address | IPv6Address | UNIXAddress

_MAX_MESSAGE = 512
#: A second descriptor is malformed, and is taken only to be closed.
_MAX_DESCRIPTORS = 4
#: Room for some hundred connections that the parent has not come to yet.
_BUFFER = 1 << 20

_Host: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]
_Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class ChannelClosed(Exception):
    """The other process has closed the channel, or is gone."""


class Malformed(Exception):
    """A message that is none; its descriptors are closed."""


class Handed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the parent is told about a connection.

    :ivar worker: number of the worker that accepted it.
    :ivar secure: whether the client speaks TLS, which ends in the worker.
    :ivar peer_host: the client's address; empty if it came through no network.
    :ivar host: the address that it connected to; empty likewise.
    """

    worker: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
    secure: bool
    peer_host: _Host
    peer_port: _Port
    host: _Host
    port: _Port


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Handed)


def relay_channel() -> tuple[socket.socket, socket.socket]:
    """Make a channel: the parent's end and the worker's.

    Neither end blocks, and neither is inherited unless it is passed on by number.
    """
    parent, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent.setblocking(False)
    worker.setblocking(False)
    # As much of it as the system allows.
    worker.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return parent, worker


def describe(transport: object, worker: int, secure: bool) -> Handed:
    """Say who is on the other side of a worker's transport.

    :param transport: has ``getPeer`` and ``getHost``.
    """
    peer = transport.getPeer()  # type: ignore[attr-defined]
    here = transport.getHost()  # type: ignore[attr-defined]
    return Handed(
        worker,
        secure,
        getattr(peer, "host", "") or "",
        getattr(peer, "port", 0) or 0,
        getattr(here, "host", "") or "",
        getattr(here, "port", 0) or 0,
    )


def give(channel: socket.socket, handed: Handed, fd: int) -> None:
    """Send one connection, of which the caller keeps and closes its own copy.

    :raises OSError: if the channel is full, or the parent gone.
    """
    message = _encoder.encode(handed)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    channel.sendmsg([message], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def take(channel: socket.socket) -> tuple[Handed, FramingSocket]:
    """Receive one connection.

    :raises BlockingIOError: if none waits.
    :raises Malformed: if the message is none of :func:`give`'s.
    :raises ChannelClosed: if there will be none.
    """
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)
    try:
        message, ancillary, seen, _ = channel.recvmsg(_MAX_MESSAGE, space, flags)
    except (ConnectionResetError, BrokenPipeError):
        raise ChannelClosed from None
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    try:
        if not message and not ancillary and not seen & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ChannelClosed
        if seen & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(descriptors) != 1:
            raise Malformed
        handed = _decode(message)
        taken = _stream(descriptors[0])
        descriptors.pop()
        return handed, taken
    finally:
        for fd in descriptors:
            os.close(fd)


def address(host: str, port: int) -> Address:
    """Give Twisted's address.

    :param host: as in :class:`Handed`.
    :raises Malformed: if it is no address.
    """
    if not host:
        return UNIXAddress(None)
    if isIPAddress(host):
        return IPv4Address("TCP", host, port)
    if isIPv6Address(host):
        return IPv6Address("TCP", host, port)
    raise Malformed


def _decode(message: bytes) -> Handed:
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Without the cause: it may name a value.
        raise Malformed from None


def _stream(fd: int) -> FramingSocket:
    """Make a socket of a descriptor, which stays the caller's if that is not possible.

    :raises Malformed: if it is not what a relay sends.
    """
    try:
        found = FramingSocket(fd)
    except OSError:
        raise Malformed from None
    try:
        found.getpeername()
        right = found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM
    except OSError:
        right = False
    if not right:
        found.detach()
        raise Malformed
    return found
