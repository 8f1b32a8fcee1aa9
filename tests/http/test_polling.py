"""Tests for the reactor's quicker turn, on reactors of their own in processes of their own."""

from __future__ import annotations

import subprocess
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import ROOT
from voidllm.http.polling import install

_SCRIPT = """
import sys
from twisted.internet import reactor, endpoints, protocol
from twisted.logger import globalLogBeginner
from voidllm.http.polling import install

errors = []

def observe(event):
    if "failure" in event:
        errors.append(event["failure"].type.__name__)

globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False)
assert install(reactor)

class Server(protocol.Protocol):
    def dataReceived(self, data):
        if data == b"break":
            raise RuntimeError("on purpose")
        self.transport.write(data.upper())

class Client(protocol.Protocol):
    seen = b""
    def connectionMade(self):
        self.transport.write(b"hello")
    def dataReceived(self, data):
        self.seen += data
        if self.seen == b"HELLO":
            self.transport.write(b"break")
    def connectionLost(self, reason):
        print(self.seen.decode(), *errors)
        reactor.callLater(0, reactor.stop)

server = protocol.Factory.forProtocol(Server)
port = reactor.listenTCP(0, server, interface="127.0.0.1")
client = protocol.ClientFactory.forProtocol(Client)
reactor.connectTCP("127.0.0.1", port.getHost().port, client)
reactor.callFromThread(lambda: None)
reactor.run()
"""


class PollingTests(SynchronousTestCase):
    """The quicker turn does what the reactor's own does."""

    def test_data_and_errors(self) -> None:
        """Data flows both ways; a protocol's error is logged once and ends its connection only."""
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("HELLO RuntimeError\n", "", 0))

    def test_other_reactors(self) -> None:
        """Whatever is no epoll reactor is left alone."""
        self.assertFalse(install(Clock()))
