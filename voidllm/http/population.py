"""The connections and running requests of one port, and how it is emptied."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

#: How long a drain waits for what a client that has just come has to say, in seconds.
FRESH_S = 1.0


class Member(Protocol):
    """A connection that can be asked to end."""

    def drain(self) -> None:
        """Close now if nothing is being answered, else after the running reply."""

    def abort(self) -> None:
        """Drop the connection at once."""


class Population:
    """Counts what is alive; shared by a front and the Site behind it.

    :ivar connections: every open connection.
    :ivar in_flight: requests that were begun and not answered to the end.
    :ivar draining: no connection is to be kept after its running reply.
    """

    def __init__(self) -> None:
        self.connections: set[Member] = set()
        self.in_flight = 0
        self.draining = False
        self._waiting: list[Deferred[None]] = []

    def first_wait_s(self, usual_s: float) -> float:
        """Say how long a new connection may take to begin its first request."""
        return min(FRESH_S, usual_s) if self.draining else usual_s

    def enter(self) -> None:
        """A request begins."""
        self.in_flight += 1

    def leave(self) -> None:
        """A request has been answered, or its client is gone."""
        self.in_flight -= 1
        if self.draining:
            self._look()

    def remove(self, connection: Member) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        if self.draining:
            self._look()

    def drain(self) -> None:
        """Close idle connections now and the others after their running reply."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()
        self._look()

    def drained(self) -> Deferred[None]:
        """Wait, after :meth:`drain`, until every reply has reached its client's socket."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        if self.draining:
            self._look()
        return waiter

    def abort_all(self) -> None:
        """Drop every connection at once; handlers learn that their client is gone."""
        for connection in tuple(self.connections):
            connection.abort()

    def _look(self) -> None:
        if self.in_flight or self.connections or not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)


class Populated:
    """What has a population, seen from outside: a front, or a Site that may stand behind one.

    :ivar population: shared by a front and the Site behind it, so that either speaks for both.
    """

    population: Population

    @property
    def connections(self) -> set[Member]:
        """Every open connection."""
        return self.population.connections

    @property
    def in_flight(self) -> int:
        """Requests begun and not answered to the end."""
        return self.population.in_flight

    def drain(self) -> None:
        """Close idle connections now, the others after their running reply."""
        self.population.drain()

    def drained(self) -> Deferred[None]:
        """Give a Deferred that fires once nothing runs and every connection is closed."""
        return self.population.drained()

    def abort_all(self) -> None:
        """Drop every connection at once."""
        self.population.abort_all()
