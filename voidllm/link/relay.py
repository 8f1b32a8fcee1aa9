"""The worker's side of the relay: connections that are not for the data plane go to the parent.

A worker's front gives a connection whose next message is not its own to a
:class:`RelayFactory`, where one that is alone would give it to a ``twisted.web`` Site. The
parent gets one end of a socketpair and what there is to know about the client
(:mod:`voidllm.link.relay_wire`); the worker carries bytes (:mod:`voidllm.link.relay_pipe`).
"""

from __future__ import annotations

import select
import socket
from typing import Any, Callable, Protocol

from attrs import frozen
from twisted.internet.protocol import Factory

from voidllm.link.relay_pipe import RelayedClient
from voidllm.link.relay_transport import NearEnd
from voidllm.link.relay_wire import describe, give


class Crowd(Protocol):
    """What is used of a :class:`voidllm.http.population.Population`."""

    connections: set[Any]

    def remove(self, connection: Any) -> None: ...


@frozen
class RelaySettings:
    """Limits of a worker's relay; every one of them is finite.

    :ivar write_timeout_s: longest time in which the client takes no byte of a reply.
    :ivar flush_s: how long the parent may take for what a client sent that is gone.
    :ivar linger_s: how long input is thrown away after a reply of ours, so that it can be read.
    """

    write_timeout_s: float = 120.0
    flush_s: float = 10.0
    linger_s: float = 2.0


class RelayFactory(Factory):
    """Stands where the front expects a Site.

    :param reactor: an ``IReactorTime`` and ``IReactorFDSet``.
    :param channel_fd: the worker's end of :func:`~voidllm.link.relay_wire.relay_channel`; owned from now on.
    :param worker: this worker's number.
    :param population: shared with the front, which looks for it here; holds relayed connections too.
    :param unavailable: gives a whole 503 reply with ``Connection: close``, for when the parent
        takes no connection.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        channel_fd: int,
        worker: int,
        population: Crowd,
        unavailable: Callable[[], bytes],
        settings: RelaySettings | None = None,
    ) -> None:
        self.reactor = reactor
        self.population = population
        self.unavailable = unavailable
        self.settings = settings or RelaySettings()
        self._worker = worker
        self._channel: socket.socket | None = socket.socket(fileno=channel_fd)
        self._channel.setblocking(False)
        self._channel.set_inheritable(False)

    def buildProtocol(self, addr: Any) -> RelayedClient:
        """Make the protocol that takes over one connection."""
        return RelayedClient(self)

    def stopFactory(self) -> None:
        """Hand over nothing more; what was handed over lives on."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def join(self, transport: Any, secure: bool, protocol: Any) -> Any:
        """Make a socketpair and give the parent the other end.

        :param transport: the client's.
        :param protocol: the one of our end.
        :returns: the transport of our end.
        :raises OSError: if the channel is full, the parent gone, or no descriptor left.
        """
        if self._channel is None:
            raise BrokenPipeError
        handed = describe(transport, self._worker, secure)
        near, far = socket.socketpair()
        try:
            with far:
                give(self._channel, handed, far.fileno())
            transport = NearEnd(near, protocol, self.reactor)
        except OSError:
            near.close()
            raise
        protocol.makeConnection(transport)
        return transport

    def is_cut_off(self) -> bool:
        """Say whether the parent has closed the channel, or is gone."""
        if self._channel is None:
            return True
        poll = select.poll()
        poll.register(self._channel, 0)
        return bool(poll.poll(0))
