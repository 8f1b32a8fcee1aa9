"""Heads that come again are not parsed again, and mean what they would mean if they were."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.http.memory import Connected, memory_front
from voidllm.http.front import _KNOWN

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nX-Key: abc\r\n"
    b"content-LENGTH: 4\r\nAccept: */*\r\n\r\n"
)
BODY = b"body"


class Keeper:
    """Keeps what it was handed, and answers."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def handle(self, request: Any, responder: Any) -> None:
        """Read the body, keep it beside the request, reply."""

        def done(body: bytes) -> None:
            self.requests.append((request, body))
            responder.reply(200, [], b"")

        request.body.read(100, done, lambda _: responder.reply(413, [], b""))


def meaning(data: bytes, before: bytes = b"") -> tuple[Any, ...]:
    """Give what a connection makes of ``data``, after ``before`` if there is any."""
    keeper = Keeper()
    _, factory = memory_front(keeper)
    connection = Connected(factory)
    if before:
        connection.feed(before)
        keeper.requests.clear()
        connection.transport.clear()
    connection.feed(data)
    handed = [
        (r.method, r.path, r.query, r.headers, r.client, r.content_length, body)
        for r, body in keeper.requests
    ]
    statuses = [line for line in connection.transport.value().split(b"\r\n") if line.startswith(b"HTTP/1.1")]
    return handed, statuses, connection.transport.closed


@st.composite
def neighbours(draw: Any) -> bytes:
    """Draw a message that differs from the known one in a few bytes, often those of its length."""
    number = draw(
        st.sampled_from(
            [b"4", b"3", b"0", b"04", b"12", b"+4", b"4 ", b"-4", b"4,4", b"", b"\xb2", b"9" * 16]
        )
    )
    message = bytearray(HEAD.replace(b": 4\r", b": %b\r" % number) + BODY)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(message) - 1))
        message[at : at + draw(st.integers(0, 1))] = draw(
            st.sampled_from([b"", b"\r\n", b"\n", b"x", b" ", b":", b"4"])
        )
    return bytes(message)


class KnownHeadTests(SynchronousTestCase):
    """The second request of a connection and those after it."""

    def test_again(self) -> None:
        """The same head gives the same list of fields and the same memo, with a body of its own."""
        keeper = Keeper()
        _, factory = memory_front(keeper)
        Connected(factory).feed(HEAD + b"one!", HEAD + b"two!" + HEAD, b"six!")
        (first, one), (second, two), (third, six) = keeper.requests
        self.assertEqual((one, two, six), (b"one!", b"two!", b"six!"))
        self.assertIs(first.headers, second.headers)
        self.assertIs(first.memo, third.memo)

    def test_other_length(self) -> None:
        """A head with nothing new but its length keeps its memo, and says the new length."""
        keeper = Keeper()
        _, factory = memory_front(keeper)
        longer = HEAD.replace(b": 4\r", b": 12\r")
        Connected(factory).feed(HEAD + BODY, longer + BODY * 3, longer + BODY * 3, HEAD + BODY)
        self.assertEqual([body for _, body in keeper.requests], [BODY, BODY * 3, BODY * 3, BODY])
        requests = [request for request, _ in keeper.requests]
        self.assertEqual([r.content_length for r in requests], [4, 12, 12, 4])
        self.assertEqual([r.header(b"content-length") for r in requests], [b"4", b"12", b"12", b"4"])
        self.assertEqual(len({id(r.memo) for r in requests}), 1)

    def test_other_field(self) -> None:
        """A head with another value anywhere else is parsed and has a memo of its own."""
        keeper = Keeper()
        _, factory = memory_front(keeper)
        Connected(factory).feed(HEAD + BODY, HEAD.replace(b"abc", b"abd") + BODY)
        (first, _), (second, _) = keeper.requests
        self.assertEqual((first.header(b"x-key"), second.header(b"x-key")), (b"abc", b"abd"))
        self.assertIsNot(first.memo, second.memo)

    def test_expectation(self) -> None:
        """A client that waits for 100 is told to go on each time."""
        keeper = Keeper()
        _, factory = memory_front(keeper)
        connection = Connected(factory)
        asking = HEAD.replace(b"Accept: */*", b"Expect: 100-continue")
        connection.feed(asking, BODY, asking, BODY)
        self.assertEqual(connection.transport.value().count(b" 100 Continue"), 2)

    def test_shared(self) -> None:
        """Connections that say the same share what is known of it, whatever lengths they state in turn."""
        keeper = Keeper()
        _, factory = memory_front(keeper)
        one, other = Connected(factory), Connected(factory)
        longer = HEAD.replace(b": 4\r", b": 12\r")
        for _ in range(2):
            one.feed(HEAD + BODY)
            other.feed(longer + BODY * 3)
        self.assertIs(one.protocol.known, other.protocol.known)
        lengths = [(r.content_length, r.header(b"content-length"), len(body)) for r, body in keeper.requests]
        self.assertEqual(lengths, [(4, b"4", 4), (12, b"12", 12)] * 2)
        one.leave()
        self.assertEqual(len(factory._heads), 1)
        other.leave()
        self.assertEqual(len(factory._heads), 0)

    def test_many_connections(self) -> None:
        """Only so many connections keep a head; the others are served all the same."""
        keeper = Keeper()
        _, factory = memory_front(keeper)
        connections = [Connected(factory) for _ in range(_KNOWN + 5)]
        for connection in connections:
            connection.feed(HEAD + BODY)
        self.assertEqual(sum(c.protocol.known is not None for c in connections), _KNOWN)
        connections[0].feed(HEAD + BODY)
        connections[0].leave()
        self.assertEqual(len(keeper.requests), _KNOWN + 6)

    def test_closed(self) -> None:
        """A connection that is closed keeps nothing of what was said on it."""
        _, factory = memory_front(Keeper())
        connection = Connected(factory)
        connection.feed(HEAD + BODY)
        connection.leave()
        self.assertIsNone(connection.protocol.known)
        self.assertEqual(len(factory._knowing), 0)

    @settings(max_examples=300, deadline=None)
    @given(neighbours())
    def test_like_a_fresh_connection(self, message: bytes) -> None:
        """Whatever follows a head that is known means what it means to a connection that knows none."""
        self.assertEqual(meaning(message, HEAD + BODY), meaning(message))
