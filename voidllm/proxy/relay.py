"""Ways to pass an upstream's reply on: whole, byte for byte, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from voidllm.core.errors import Refusal
from voidllm.core.usage import NO_TOKENS, TokenCounts
from voidllm.core.values import value
from voidllm.proxy.faults import REDIRECT, TOO_LARGE
from voidllm.usage.metering import Metered, estimate_tokens, meter_reply

if TYPE_CHECKING:
    from voidllm.proxy.exchange import Exchange

#: The only headers of an upstream that a client sees; its account's rate limits and ids
#: are nobody's business here.
FORWARDED = frozenset({b"content-type", b"content-disposition", b"retry-after", b"retry-after-ms"})

_JSON = b"application/json"

#: Nothing was consumed, or nobody can tell.
NOTHING = Metered(NO_TOKENS, "none")


def forwarded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Keep the headers that a client may see."""
    return [pair for pair in headers if pair[0] in FORWARDED]


@value
class Passage:
    """How a reply is passed on, by its status and its headers.

    :ivar whole: it is collected, and sent in one piece.
    :ivar streamed: it is a proper stream of events.
    :ivar headers: those that the client sees.
    """

    whole: bool
    streamed: bool
    headers: list[tuple[bytes, bytes]]


def passage(status: int, headers: list[tuple[bytes, bytes]]) -> Passage:
    """Choose how to pass a reply on."""
    kind = b""
    for name, text in headers:
        if name == b"content-type":
            # Nearly always this very word: taking it apart costs 0.5 us.
            kind = text if text == _JSON else text.split(b";", 1)[0].strip().lower()
            break
    good = 200 <= status < 300
    whole = not good or not kind or kind == _JSON or kind.endswith(b"+json")
    return Passage(whole, good and kind == b"text/event-stream", forwarded(headers))


def relay_whole(exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Account for a reply that is all there, then send it.

    :param headers: those that the client may see.
    """
    if 200 <= status < 300:
        metered, code = meter_reply(body, exchange.prompt_estimate), ""
    else:
        metered, code = NOTHING, "upstream_status"
    if exchange.settle(status, code, metered):
        exchange.responder.reply(status, [*headers, *exchange.reply_headers()], body)


class Relay(Protocol):
    """Takes an upstream's reply and gives it to the client of an exchange.

    :ivar committed: the client has been sent a reply head.
    """

    committed: bool

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the reply head."""

    def chunk(self, data: bytes) -> None:
        """Take a piece of the body."""

    def finished(self) -> None:
        """The body is complete."""

    def broken(self, refusal: Refusal) -> None:
        """A committed reply cannot be completed."""

    def client_gone(self) -> None:
        """Settle for a client that left; send nothing."""

    def metered_so_far(self) -> Metered:
        """Say what was consumed until now."""

    def detach(self) -> None:
        """Let go of timers and gauges; nothing else will be called."""


class BufferedRelay:
    """Collects a JSON reply, reads its usage, sends it in one write."""

    __slots__ = ("_exchange", "_headers", "_parts", "_size", "_status", "committed")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._parts: list[bytes] = []
        self._size = 0
        self.committed = False

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the reply head; a redirect ends the exchange."""
        self._status = status
        self._headers = forwarded(headers)
        if 300 <= status < 400:
            self._exchange.fail(REDIRECT)

    def chunk(self, data: bytes) -> None:
        """Take a piece of the body, up to the limit."""
        self._size += len(data)
        if self._size > self._exchange.core.settings.max_response_body:
            self._parts.clear()
            self._exchange.fail(TOO_LARGE)
        else:
            self._parts.append(data)

    def finished(self) -> None:
        """Account, then send."""
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        relay_whole(self._exchange, self._status, self._headers, body)

    def broken(self, refusal: Refusal) -> None:
        """Never happens: nothing is sent before all is there."""

    def client_gone(self) -> None:
        """The upstream read the prompt; how much it wrote is not known."""
        self._exchange.settle(499, "client_closed", self.metered_so_far())

    def metered_so_far(self) -> Metered:
        """The prompt was read; the reply so far is counted as text."""
        estimate = self._exchange.prompt_estimate
        return Metered(TokenCounts(input=estimate, output=estimate_tokens(self._size)), "estimated")

    def detach(self) -> None:
        """Nothing is held."""


class OpaqueRelay:
    """Passes a binary or plain-text reply on as it comes; usage is estimated."""

    __slots__ = ("_exchange", "_is_text", "_size", "_status", "committed")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._size = 0
        self._is_text = False
        self.committed = False

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the reply head at once."""
        exchange = self._exchange
        self._status = status
        self._is_text = any(n == b"content-type" and v[:5].lower() == b"text/" for n, v in headers)
        self.committed = True
        exchange.heard()
        exchange.responder.head(status, [*forwarded(headers), *exchange.reply_headers()])

    def chunk(self, data: bytes) -> None:
        """Send a piece, up to the limit."""
        if self._exchange.over:
            return
        self._size += len(data)
        if self._size > self._exchange.core.settings.max_response_body:
            self._exchange.fail(TOO_LARGE)
        else:
            self._exchange.responder.chunk(data)

    def finished(self) -> None:
        """Account, then complete the reply."""
        if self._exchange.settle(self._status, "", self.metered_so_far()):
            self._exchange.responder.end()

    def broken(self, refusal: Refusal) -> None:
        """Cut the connection: such a body has no place for an error."""
        if self._exchange.settle(refusal.status, refusal.code, self.metered_so_far()):
            self._exchange.responder.abort()

    def client_gone(self) -> None:
        """Account for the request."""
        self._exchange.settle(self._status, "client_closed", self.metered_so_far())

    def metered_so_far(self) -> Metered:
        """Such replies carry no counts: what was asked for was read, and text was written."""
        written = estimate_tokens(self._size) if self._is_text else 0
        return Metered(TokenCounts(input=self._exchange.prompt_estimate, output=written), "estimated")

    def detach(self) -> None:
        """Nothing is held."""
