"""How a connection of the fast front ends: at once, after its reply, or after what its client still sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from twisted.internet.protocol import Protocol

from voidllm.http.body import ArrivingBody
from voidllm.http.direct import settle
from voidllm.http.dispatch import log_crash
from voidllm.http.linger import Linger
from voidllm.http.population import FRESH_S
from voidllm.http.replies import JSON, error_body
from voidllm.http.responder import FrontResponder
from voidllm.http.sampling import Probe
from voidllm.http.watch import Watch
from voidllm.http.writing import WriteWatch

if TYPE_CHECKING:
    from voidllm.http.front import FrontFactory

#: What a connection does: waits for a message, reads its head, its body or what is behind it,
#: throws away what a client still sends.
IDLE, HEAD, BODY, LINGER = range(4)


class EndingConnection(Protocol):
    """The part of a :class:`~voidllm.http.connection.FrontConnection` that ends it.

    What is read and answered until then is its subclass's.
    """

    # fmt: off
    __slots__ = (
        "_body", "_broken", "_buffer", "_ended", "_fresh", "_held", "_linger", "_phase", "_probe",
        "_responder", "_seconds", "_watch", "_write_watch", "connected", "factory", "send", "transport",
    )
    # fmt: on

    factory: FrontFactory
    transport: Any
    #: Writes to the client; see :func:`~voidllm.http.direct.sender`.
    send: Callable[[bytes], Any]

    def __init__(self, factory: FrontFactory) -> None:
        self.factory = factory
        self.transport = None
        self._seconds: Callable[[], float] = factory.world.reactor.seconds
        self._buffer = b""
        self._body: ArrivingBody | None = None
        self._responder: FrontResponder | None = None
        self._linger: Linger | None = None
        self._probe: Probe | None = None
        self._phase = IDLE
        self._fresh = True
        self._held = 0
        self._broken = False
        self._ended = False
        self._watch: Watch
        self._write_watch: WriteWatch

    # -- the factory's side

    def drain(self) -> None:
        """Close now if no message was begun; a client that has just come may still say what it wants."""
        if self._phase == IDLE and self._responder is None and self._body is None and not self._ended:
            if self._fresh:
                self._watch.set(self._seconds(), FRESH_S)
            else:
                self._close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._ended = True
        self.transport.abortConnection()

    # -- the side of a body and of a responder

    def body_broken(self) -> None:
        """The connection must close after the reply."""
        self._broken = True
        self._watch.clear()
        if self._responder is None and not self._ended:
            self._begin_linger()

    def reply_cut(self, reset: bool) -> None:
        """The reply will not be complete."""
        self._responder = None
        if self._probe is not None:
            self._end_probe(self._probe)
        self.factory.population.leave()
        if self._ended:
            return
        if reset:
            self.abort()
        elif self._body is not None or self._buffer:
            self._begin_linger()
        else:
            self._close()

    # -- ends

    def _end_probe(self, probe: Probe) -> None:
        """Follow no request any more: it is over, or none came."""
        self._probe = None
        if probe.begun:
            self.send = probe.end()
        else:
            probe.end()
            self.factory.sampling.give_back()

    def _safely(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self._crashed(error)

    def _crashed(self, error: Exception) -> None:
        """A handler failed: 500 if nothing was sent, else cut the reply."""
        log_crash(error)
        responder = self._responder
        if responder is None:
            if not self._ended:
                self.abort()
        elif responder.started:
            responder.abort()
        else:
            self._broken = True
            body = error_body(500, "internal_error", "the gateway failed", None, responder.request_id)
            responder.reply(500, [JSON], body)

    def _close(self) -> None:
        self._ended = True
        self._linger = None
        self._watch.clear()
        settle(self.transport)
        self._write_watch.begin()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _begin_linger(self) -> None:
        self._ended = True
        self._buffer = b""
        body, self._body = self._body, None
        if body is not None:
            body.lost()
        self._phase = LINGER
        if self._held:
            self._held = 0
            self.transport.resumeProducing()
        self._linger = Linger(self.transport, self.factory.world.reactor, self._watch, self._close)
