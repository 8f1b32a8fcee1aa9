"""The mock works inside a test: on a virtual clock, over in-memory transports."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from bench.mocks.llm import MockConnection, MockLLM


def request(model: str, *, stream: bool = False, path: str = "/v1/chat/completions") -> bytes:
    """Give the bytes of one request."""
    value = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "x"}], "input": "x"}
    body = json.dumps(value).encode()
    return b"POST %b HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


class InProcess(SynchronousTestCase):
    """One mock, connections without sockets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.mock = MockLLM(self.clock, delay_s=0.01, interval_s=0.05)

    def connect(self) -> tuple[MockConnection, StringTransport]:
        """Open a connection."""
        connection, transport = self.mock.buildProtocol(None), StringTransport()
        connection.makeConnection(transport)
        return connection, transport

    def test_delay_and_interval(self) -> None:
        """Nothing comes before the delay; then an event at each interval; no timer is left."""
        connection, transport = self.connect()
        connection.dataReceived(request("m", stream=True))
        self.clock.advance(0.009)
        self.assertEqual(transport.value(), b"")
        self.clock.advance(0.002)
        self.assertEqual(transport.value().count(b"data: "), 1)
        self.clock.advance(0.05)
        self.assertEqual(transport.value().count(b"data: "), 2)
        self.clock.pump([0.05] * 30)
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.mock.requests[0].outcome, "done")
        self.assertEqual(self.mock.state()["in_flight"], 0)

    def test_client_gone(self) -> None:
        """A client that leaves ends its reply and its timer, whatever the phase."""
        for model, wait in (("m", 0.0), ("m", 0.06), ("mock-fault-stall-1", 0.2), ("mock-fault-never", 1.0)):
            connection, _ = self.connect()
            connection.dataReceived(request(model, stream=True))
            self.clock.advance(wait)
            connection.connectionLost()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual(self.mock.requests[-1].outcome, "client_gone")
        self.assertEqual((self.mock.state()["connections_open"], self.mock.state()["in_flight"]), (0, 0))

    def test_client_gone_while_sending(self) -> None:
        """A half-sent request is recorded as incomplete."""
        connection, _ = self.connect()
        connection.dataReceived(request("m")[:-5])
        connection.connectionLost()
        self.assertEqual(
            (self.mock.requests[0].outcome, self.mock.requests[0].complete), ("client_gone", False)
        )

    def test_back_pressure(self) -> None:
        """A paused transport gets no more events until it is resumed."""
        self.mock.delay_s = self.mock.interval_s = 0
        connection, transport = self.connect()
        write = transport.write

        def full_after_first(data: bytes) -> None:
            write(data)
            if transport.producerState == "producing" and b"data: " in data:
                connection.pauseProducing()

        transport.write = full_after_first  # type: ignore[method-assign]
        connection.dataReceived(request("m", stream=True))
        self.clock.advance(1)
        self.assertEqual(transport.value().count(b"data: "), 1)
        connection.resumeProducing()
        self.assertEqual(transport.value().count(b"data: "), 2)
        self.assertEqual(self.mock.state()["pauses"], 2)

    def test_many_pipelined(self) -> None:
        """A thousand pipelined requests are answered in order."""
        self.mock.delay_s = 0
        connection, transport = self.connect()
        connection.dataReceived(b"".join(request(f"m{i}", path="/v1/moderations") for i in range(1000)))
        self.clock.advance(0)
        answers = transport.value().split(b"HTTP/1.1 200 OK")[1:]
        self.assertEqual(len(answers), 1000)
        self.assertTrue(all(b'"model":"m%d"' % i in text for i, text in enumerate(answers)))

    def test_no_read(self) -> None:
        """A rule stops the mock from reading a body."""
        self.mock.rules.add("noread", path="/chat/completions")
        connection, transport = self.connect()
        connection.dataReceived(request("m")[:-5])
        self.assertEqual(transport.producerState, "paused")

    def test_settings_and_close(self) -> None:
        """close_all resets every connection; forget clears what was seen."""
        connection, transport = self.connect()
        connection.dataReceived(request("m"))
        self.mock.close_all()
        self.assertTrue(transport.disconnecting or transport.aborting)
        connection.connectionLost()
        self.mock.forget()
        state: dict[str, Any] = self.mock.state()
        self.assertEqual((state["requests_total"], state["outcomes"]), (0, {}))
        self.assertIsInstance(connection, Protocol)
