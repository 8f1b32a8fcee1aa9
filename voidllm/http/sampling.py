"""One request in N is followed through the kernel: from its bytes' arrival to its reply's departure.

It must be known beforehand which one, because the stamp of its bytes is gone once they are read. So every
N requests the next connection that begins to wait for one, be it new, is told to look at what it gets.
It has its turn until a request comes or it is closed; others have theirs meanwhile.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

from voidllm.http.polling import outbox_of
from voidllm.http.stamps import Stamping, Stamps, watch

#: The N; what following one costs, some 15 us, is then about one us a request.
EVERY = 16


class Probe:
    """Follows one request; every moment is on the reactor's clock.

    Where there are no stamps at all, as in a simulated world, the clock stands in for them. Where one is
    missing, the moment is not a number, and so is what is computed with it.

    :param transport: the client's connection, which waits for a request.
    :ivar own_s: seconds of the gateway's time that went into following. What is done so seldom is slow
        each time, and no other request has it.
    :ivar begun: a request has begun.
    :ivar wanted_s: when the request to the upstream was written, and ``sent_s`` when the kernel had it;
        ``None`` until then.
    :ivar replied: called once, when what is written next to the client has been given to the kernel.
    """

    __slots__ = (
        "_client",
        "_ended",
        "_outbox",
        "_seconds",
        "_send",
        "_upstream",
        "begun",
        "own_s",
        "replied",
        "sent_s",
        "wanted_s",
    )

    def __init__(self, reactor: Any, transport: Any) -> None:
        self._seconds: Callable[[], float] = reactor.seconds
        self._outbox = outbox_of(reactor)
        self._client = watch(transport)
        self._upstream: Stamps | None = None
        self._send: Callable[[bytes], Any] = _nothing
        self.wanted_s: float | None = None
        self.sent_s: float | None = None
        self.begun = False
        self._ended = False
        self.own_s = 0.0
        self.replied: Callable[[], None] | None = None

    # -- the client's connection

    def begin(self, send: Callable[[bytes], Any]) -> None:
        """A request has begun; what is sent to its client goes through :meth:`send` from now on."""
        self.begun = True
        self._send = send

    def send(self, data: bytes) -> None:
        """Write to the client."""
        self._send(data)
        replied, self.replied = self.replied, None
        if replied is not None:
            self._behind(_Then(replied))

    def end(self) -> Callable[[bytes], Any]:
        """Look at no socket any more; give what :meth:`begin` got."""
        begun_s = self._seconds()
        self._ended = True
        if self._client is not None:
            self._client.stop()
        if self._upstream is not None:
            self._upstream.stop()
        send, self._send = self._send, _nothing
        self.replied = None
        self.own_s += self._seconds() - begun_s
        return send

    # -- the upstream's connection

    def wanted(self, transport: Any) -> None:
        """The request was just written to an upstream's connection."""
        self.wanted_s = self._seconds()
        self._behind(_Then(partial(self._sent, transport)))

    # -- who computes

    def forget_upstream(self) -> None:
        """Another upstream is about to be called."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.stop()
        self.wanted_s = self.sent_s = None

    def came_s(self) -> float:
        """Give when what was read last from the client had come."""
        return self._seconds() if self._client is None else self._client.at_s

    def answered_s(self) -> float:
        """Give when what was read last from the upstream had come."""
        return self._seconds() if self._upstream is None else self._upstream.at_s

    def _behind(self, then: _Then) -> None:
        if self._outbox is None:
            then.flush()
        else:
            self._outbox.add_behind(then)

    def _sent(self, transport: Any) -> None:
        self.sent_s = self._seconds()
        # From here on it is the upstream's time.
        if self._upstream is not None:
            self._upstream.stop()
        # Whoever asked may be gone by now.
        self._upstream = None if self._ended else watch(transport)


class Sampling:
    """Chooses the requests of one front.

    :param every: one request in so many is followed.
    :ivar left: requests to begin until a connection is due to be told.
    """

    __slots__ = ("_every", "_reactor", "_stamping", "left")

    def __init__(self, reactor: Any, every: int = EVERY) -> None:
        self._reactor = reactor
        self._every = every
        self._stamping = Stamping()
        self.left = 0

    def start(self) -> None:
        """Have the kernel stamp what comes, where it can be asked."""
        self._stamping.start(self._reactor)

    def stop(self) -> None:
        """Have it no longer do so."""
        self._stamping.stop()

    def take(self, transport: Any) -> Probe:
        """Follow the next request of a connection that waits for one; for when none is left."""
        # What could not be followed because clients never wait is not made up for.
        self.left = max(1, self.left + self._every)
        return Probe(self._reactor, transport)

    def give_back(self) -> None:
        """A connection that was told has had no request: the next one is due."""
        self.left -= self._every


class _Then:
    """Something to do behind what waits to be written."""

    __slots__ = ("_act",)

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def flush(self) -> None:
        """Do it."""
        self._act()


def _nothing(data: bytes) -> None:
    """Write nothing."""
