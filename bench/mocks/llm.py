"""A mock upstream LLM with OpenAI's wire format.

Run it with ``python -m bench.mocks.llm --port 0 --delay-ms 10``; it prints ``listening PORT``.
Or give a :class:`MockLLM` to ``reactor.listenTCP`` inside a test and look at its
:attr:`~MockLLM.requests`, :meth:`~MockLLM.state` and :attr:`~MockLLM.rules` directly.
Faults are described in :mod:`bench.mocks.faults`, control over HTTP in
:mod:`bench.mocks.control`.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import httptools
from twisted.internet import interfaces
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from bench.mocks.control import control
from bench.mocks.exchange import Exchange, answer
from bench.mocks.faults import NONE, Rules, parse
from bench.mocks.player import FOREVER, NOW, HungUp, play
from bench.mocks.reply import error_reply


@implementer(interfaces.IPushProducer)
class MockConnection(Protocol):
    """One connection: requests are answered in order, one at a time."""

    factory: MockLLM
    transport: Any

    def __init__(self, number: int) -> None:
        self.number = number
        self._waiting: deque[Exchange] = deque()
        self._reading: Exchange | None = None
        self._current: Exchange | None = None
        self._play: Iterator[float] | None = None
        self._timer: Any = None
        self._held = False
        self._hanging = False

    def connectionMade(self) -> None:
        """Begin to read."""
        self._parser = httptools.HttpRequestParser(self)
        self.factory.connections.add(self)
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """Feed the parser; what is not HTTP is answered with 400."""
        if self._hanging:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self.transport.write(
                b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.factory.bad_requests += 1
            self.hang_up(reset=False)

    def on_message_begin(self) -> None:
        self._reading = self.factory.begin(self.number)

    def on_url(self, url: bytes) -> None:
        assert self._reading is not None
        self._reading.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._reading is not None
        self._reading.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        exchange = self._reading
        assert exchange is not None
        exchange.method = self._parser.get_method().decode()
        exchange.version = self._parser.get_http_version()
        if not exchange.path.startswith("/__mock/"):
            self.factory.record(exchange)
        exchange.begin_body()
        try:
            faults = parse(exchange.header("x-mock"))
        except ValueError:
            faults = NONE
        faults = faults.merged(self.factory.rules.at_head(exchange.path))
        if "earlyreply" in faults:
            exchange.faults = faults
            self._waiting.append(exchange)
            self._next()
        elif "noread" in faults:
            self.transport.pauseProducing()
        elif exchange.header("expect").lower() == "100-continue" and self._current is None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        assert self._reading is not None
        self._reading.feed(data, self.factory.keep)

    def on_message_complete(self) -> None:
        exchange = self._reading
        assert exchange is not None
        self._reading = None
        exchange.end_body()
        if "earlyreply" not in exchange.faults:
            self._waiting.append(exchange)
            self._next()

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        exchange = self._current = self._waiting.popleft()
        exchange.outcome = "answering"
        factory = self.factory
        delay = factory.delay_s
        if exchange.path.startswith("/__mock/"):
            reply, faults, delay = control(factory, exchange), NONE, 0.0
        elif "earlyreply" in exchange.faults:
            reply, faults, delay = error_reply(413, "too large for the mock"), exchange.faults, 0.0
        else:
            reply, faults = answer(exchange, factory.rules, factory.api_key)
        request_id = f"req_mock_{exchange.number}"
        self._play = play(self, reply, faults, delay, factory.interval_s, request_id)
        self._step()

    def _step(self) -> None:
        self._timer = None
        while self._play is not None and not self._held:
            try:
                wait = next(self._play)
            except StopIteration:
                last = self._current is not None and self._current.last_on_connection
                self._finish("done")
                if last:
                    self.hang_up(reset=False)
                    return
                self._next()
                return
            except HungUp:
                self._finish("hung_up")
                return
            if wait == FOREVER:
                self._play = None
            elif wait != NOW:
                self._timer = self.factory.reactor.callLater(wait, self._step)
                return

    def _finish(self, outcome: str) -> None:
        self._play = None
        if self._current is not None:
            self.factory.end(self._current, outcome)
            self._current = None

    def write(self, data: bytes) -> None:
        """Send bytes of the reply."""
        if self._current is not None:
            self._current.bytes_sent += len(data)
        self.transport.write(data)

    def sent_event(self) -> None:
        """Count one event of the stream."""
        if self._current is not None:
            self._current.events_sent += 1

    def hang_up(self, *, reset: bool) -> None:
        """End the connection, after what was written (or at once with a RST)."""
        self._hanging = True
        transport: Any = self.transport
        transport.unregisterProducer()
        if reset:
            transport.abortConnection()
        else:
            transport.loseConnection()

    def pauseProducing(self) -> None:
        """Hold the reply: the peer does not read."""
        self._held = True
        self.factory.pauses += 1

    def resumeProducing(self) -> None:
        """Go on with the reply."""
        self._held = False
        if self._timer is None:
            self._step()

    def stopProducing(self) -> None:
        """Stop; ``connectionLost`` follows."""
        self._held = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop the reply and note that the client left it."""
        self.factory.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._finish("client_gone")
        for exchange in (self._reading, *self._waiting):
            if exchange is not None:
                self.factory.end(exchange, "client_gone")
        self._reading = None
        self._waiting.clear()


@implementer(interfaces.IProtocolNegotiationFactory)
class MockLLM(ServerFactory):
    """The mock, as a factory for ``listenTCP``.

    :param reactor: provides ``IReactorTime``.
    :param delay_s: seconds before each reply head.
    :param interval_s: seconds between stream events.
    :param api_key: the key it demands, ``None`` for any.
    :param remember: how many requests are kept for assertions.
    :param keep: how many bytes of each body are shown.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        *,
        delay_s: float = 0.0,
        interval_s: float = 0.0,
        api_key: str | None = None,
        remember: int = 1000,
        keep: int = 1 << 20,
    ) -> None:
        self.reactor = reactor
        self.delay_s = delay_s
        self.interval_s = interval_s
        self.api_key = api_key
        self.keep = keep
        self.rules = Rules()
        self.requests: deque[Exchange] = deque(maxlen=remember)
        self.connections: set[MockConnection] = set()
        self.in_flight: set[int] = set()
        self.outcomes: dict[str, int] = {}
        self.connections_total = 0
        self.requests_total = 0
        self.bad_requests = 0
        self.pauses = 0
        self._numbers = 0

    def buildProtocol(self, addr: Any) -> MockConnection:  # type: ignore[override]
        """Give the protocol for a new connection."""
        self.connections_total += 1
        connection = MockConnection(self.connections_total)
        connection.factory = self
        return connection

    def acceptableProtocols(self) -> list[bytes]:
        """Offer HTTP/1.1 over ALPN; without an offer Twisted fails clients that send ALPN."""
        return [b"http/1.1"]

    def begin(self, connection: int) -> Exchange:
        """Start a request."""
        self._numbers += 1
        return Exchange(self._numbers, connection, started_s=self.reactor.seconds())

    def record(self, exchange: Exchange) -> None:
        """Remember a request; control requests are not recorded."""
        self.requests_total += 1
        self.requests.append(exchange)
        self.in_flight.add(exchange.number)

    def end(self, exchange: Exchange, outcome: str) -> None:
        """Note how a request ended, once; its body is cut to what is shown."""
        if exchange.ended_s is not None:
            return
        exchange.outcome = outcome
        exchange.ended_s = self.reactor.seconds()
        del exchange.kept[self.keep :]
        if exchange.number in self.in_flight:
            self.in_flight.discard(exchange.number)
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def state(self) -> dict[str, Any]:
        """Give what ``GET /__mock/state`` shows."""
        return {
            "connections_open": len(self.connections),
            "connections_total": self.connections_total,
            "in_flight": len(self.in_flight),
            "requests_total": self.requests_total,
            "bad_requests": self.bad_requests,
            "outcomes": self.outcomes,
            "pauses": self.pauses,
            "rules": len(self.rules.rules),
        }

    def forget(self) -> None:
        """Clear requests, counts and rules; open connections stay."""
        self.requests.clear()
        self.outcomes = {}
        self.requests_total = self.bad_requests = self.pauses = 0
        self.rules.clear()

    def close_all(self) -> None:
        """Abort every connection, so that a test leaves nothing in the reactor."""
        for connection in list(self.connections):
            connection.hang_up(reset=True)


def main(argv: list[str]) -> int:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="mock upstream LLM")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--endpoint", help="a Twisted server endpoint instead of host and port (TLS)")
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--interval-ms", type=float, default=0)
    parser.add_argument("--api-key")
    parser.add_argument("--remember", type=int, default=1000)
    args = parser.parse_args(argv)

    from twisted.internet import endpoints, reactor

    mock = MockLLM(
        reactor,
        delay_s=args.delay_ms / 1000,
        interval_s=args.interval_ms / 1000,
        api_key=args.api_key,
        remember=args.remember,
    )
    endpoint = args.endpoint or f"tcp:{args.port}:interface={args.host}:backlog=1024"
    failed: list[Failure] = []

    def listening(port: Any) -> None:
        print(f"listening {port.getHost().port}", flush=True)

    def refused(reason: Failure) -> None:
        failed.append(reason)
        print(f"cannot listen: {reason.getErrorMessage()}", file=sys.stderr)
        reactor.callWhenRunning(reactor.stop)

    serve: Any = endpoints.serverFromString
    serve(reactor, endpoint).listen(mock).addCallbacks(listening, refused)
    reactor.run()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
