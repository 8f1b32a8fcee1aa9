"""One HTTP request as a handler sees it, whichever front read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Protocol

from attrs import define, field

if TYPE_CHECKING:
    from voidllm.http.sampling import Probe


class BodySource(Protocol):
    """Gives a request's body; exactly one of its methods is called, once."""

    def read(self, limit: int, done: Callable[[bytes], None], failed: Callable[[Exception], None]) -> None:
        """Collect the whole body.

        ``done`` may be called before this returns, when the body has arrived already.

        :param limit: bytes; more gives ``failed`` with a 413 :class:`~voidllm.core.errors.Refusal`.
        :param failed: also gets a 408 refusal when the sender makes no progress. It is
            not called when the client leaves: that is the responder's ``stopProducing``.
        """

    def stream(
        self,
        limit: int,
        chunk: Callable[[bytes], None],
        done: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Pass the body on as it arrives; :meth:`pause` and :meth:`resume` hold the sender back."""

    def pause(self) -> None:
        """Stop reading from the client (streaming only)."""

    def resume(self) -> None:
        """Read from the client again."""


class HeadMemo:
    """What may be kept of a request head for when the very same fields come again.

    It lives as long as a connection keeps its head, so at most as long as the connection.

    :ivar key_digest: the gate's digest of the API key that the fields hold, once it was made.
    """

    __slots__ = ("key_digest",)

    def __init__(self) -> None:
        self.key_digest: bytes | None = None


@define
class Request:
    """A request head, plus the source of its body.

    :ivar method: upper-case, as sent.
    :ivar path: the target up to ``?``, as sent (not percent-decoded).
    :ivar query: what follows the first ``?``, without it.
    :ivar headers: (lower-case name, value) pairs in the order received.
    :ivar client: address of the client after ``server.trusted_proxies`` was applied, text.
    :ivar body: where the body comes from.
    :ivar content_length: declared length, ``None`` when chunked, 0 when there is no body.
    :ivar request_id: the client's ``X-Request-Id`` if it is a UUID, else a fresh UUIDv7; every
        responder sends it back.
    :ivar started_s: monotonic seconds when the first byte of the request was seen.
    :ivar probe: follows this request, if it is one of the few.
    :ivar memo: for who works something out of ``headers`` that holds for the same fields again.
    """

    method: bytes
    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    client: str
    body: BodySource
    content_length: int | None
    started_s: float
    request_id: str
    memo: HeadMemo = field(factory=HeadMemo, repr=False)
    probe: Probe | None = field(default=None, repr=False)
    _index: dict[bytes, bytes] | None = field(default=None, init=False, repr=False)

    def header(self, name: bytes) -> bytes | None:
        """Give the last value of header ``name`` (lower-case), or ``None``."""
        if self._index is None:
            self._index = dict(self.headers)
        return self._index.get(name)

    def all(self, name: bytes) -> list[bytes]:
        """Give every value of header ``name`` (lower-case), in order."""
        return [v for n, v in self.headers if n == name]
