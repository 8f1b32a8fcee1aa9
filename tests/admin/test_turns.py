"""Administration waits for itself while the process has other requests to answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.test.requesthelper import DummyRequest

from voidllm.admin import turns
from voidllm.admin.turns import Turns


class Slow(Resource):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[Any] = []

    def render(self, request: Any) -> Any:
        """Begin."""
        self.running.append(request)
        return NOT_DONE_YET

    def answer(self) -> None:
        """Answer who came first."""
        request = self.running.pop(0)
        request.write(b"done")
        request.finish()


class Asked(DummyRequest):
    """A request as a site's: it knows how to be rendered."""

    def render(self, resource: Any) -> None:
        """Do what the site's request does."""
        body = resource.render(self)
        if body is not NOT_DONE_YET:
            self.write(body)
            self.finish()


class TurnsTests(SynchronousTestCase):
    """Who waits, and for how long."""

    def setUp(self) -> None:
        """Begin with a busy process."""
        self.clock = Clock()
        self.busy = True
        self.turns = Turns(self.clock, lambda: self.busy)
        self.app = Slow()

    def ask(self) -> Asked:
        """Send one request."""
        request = Asked([b"x"])
        body = self.turns.render(request, self.app)
        if body is not NOT_DONE_YET:
            request.write(body)
            request.finish()
        return request

    def test_idle(self) -> None:
        """Nobody waits in a process that has nothing else to do."""
        self.busy = False
        for _ in range(5):
            self.ask()
        self.assertEqual(len(self.app.running), 5)

    def test_one_at_a_time(self) -> None:
        """In a busy one each begins after the one before, in their order, and after as much rest."""
        asked = [self.ask() for _ in range(3)]
        self.clock.advance(0.01)
        self.assertEqual(self.app.running, asked[:1])
        self.app.answer()
        self.clock.advance(0.009)
        self.assertEqual(self.app.running, [])
        self.clock.advance(0.0011)
        self.assertEqual(self.app.running, asked[1:2])
        self.app.answer()
        self.clock.advance(0)
        self.assertEqual(self.app.running, asked[2:])
        self.app.answer()
        self.assertEqual([request.written for request in asked], [[b"done"]] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle_again(self) -> None:
        """When the process has nothing else to do any more, all who wait begin."""
        for _ in range(4):
            self.ask()
        self.busy = False
        self.app.answer()
        self.clock.pump([0] * 4)
        self.assertEqual(len(self.app.running), 3)

    def test_long(self) -> None:
        """A request that only waits, or streams, is in nobody's way."""
        self.ask()
        self.ask()
        self.clock.advance(0.26)
        self.clock.advance(0.1)
        self.assertEqual(len(self.app.running), 2)
        self.app.answer()
        self.app.answer()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone(self) -> None:
        """Who goes while waiting is not begun."""
        first, second, third = self.ask(), self.ask(), self.ask()
        second.processingFailed(Failure(ConnectionDone()))
        self.app.answer()
        self.clock.advance(0.1)
        self.assertEqual(self.app.running, [third])
        self.assertEqual(first.written, [b"done"])

    def test_too_many(self) -> None:
        """A queue has an end; who comes then is told to come again."""
        self.patch(turns, "MOST_WAITING", 2)
        *_, last = [self.ask() for _ in range(4)]
        self.assertEqual(last.responseCode, 503)
        self.assertEqual(last.responseHeaders.getRawHeaders("retry-after"), ["1"])
