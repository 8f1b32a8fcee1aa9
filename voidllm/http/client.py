"""The only place that makes treq clients, with treq's traps closed.

Cookies are neither kept nor sent (a jar shared by all requests would carry one tenant's
to the next), redirects are not followed (they would lead past every check of the address),
and ``Accept-Encoding`` is ``identity``: the pool refuses a compressed reply, so treq never
inflates one.
"""

from __future__ import annotations

from typing import Any, Iterator

from hyperlink import EncodedURL
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import Deferred
from twisted.web.iweb import IAgent, IBodyProducer

from voidllm.core.errors import VoidLLMError
from voidllm.http.agent import BytesBody, CallPolicy, PoolAgent


class BodyTooLarge(VoidLLMError):
    """A reply's body is longer than its reader allows."""


class NoCookies(IndexableCookieJar):
    """A jar that takes nothing in and gives nothing out."""

    def set_cookie(self, cookie: Any) -> None:
        """Drop it."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Drop them."""

    def add_cookie_header(self, request: Any) -> None:
        """Add none."""

    def __iter__(self) -> Iterator[Any]:
        """There are none."""
        return iter(())

    def __len__(self) -> int:
        """There are none."""
        return 0


_NO_COOKIES = NoCookies()


class PreparedURL(EncodedURL):  # type: ignore[misc]
    """A URL that is sent as it is written, and keeps its text.

    treq asks for both on every request; taking a URL apart and putting it together again
    costs more than the request does.
    """

    _text = ""

    @classmethod
    def of(cls, text: str) -> PreparedURL:
        """Prepare ``text``, an absolute URL in ASCII."""
        url: PreparedURL = cls.from_text(text)  # type: ignore[assignment]
        url._text = text
        return url

    def to_uri(self) -> PreparedURL:
        """Give itself."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """Give the text."""
        return self._text


def _body_producer(data: Any) -> Any:
    return BytesBody(data) if isinstance(data, bytes) else IBodyProducer(data)


class Client(HTTPClient):
    """treq's client on one agent."""

    def __init__(self, agent: IAgent, reactor: Any) -> None:
        super().__init__(agent, _NO_COOKIES, _body_producer)
        self._reactor = reactor

    def request(self, method: str, url: Any, **kwargs: Any) -> Deferred[Any]:  # type: ignore[override]
        """Send a request; see :func:`treq.request`.

        :raises ValueError: for ``cookies``, and for ``allow_redirects`` if true.
        """
        if kwargs.get("allow_redirects") or kwargs.get("browser_like_redirects"):
            raise ValueError("redirects are never followed")
        cookies = kwargs.get("cookies")
        if cookies is not None and cookies is not _NO_COOKIES:
            raise ValueError("cookies are not kept; send a Cookie header instead")
        kwargs["allow_redirects"] = False
        kwargs["cookies"] = _NO_COOKIES
        kwargs.setdefault("reactor", self._reactor)
        kwargs["_stacklevel"] = kwargs.get("_stacklevel", 2) + 1
        return super().request(method, url, **kwargs)


def make_client(pool: Any, policy: CallPolicy | None = None) -> Client:
    """Make a treq client on a pool.

    :param pool: an :class:`~voidllm.http.pool.UpstreamPool`.
    :param policy: timeouts, TLS and proxy of every request.
    """
    return Client(PoolAgent(pool, policy), pool.world.reactor)


def read_body(response: Any, limit: int) -> Deferred[bytes]:
    """Collect the body of a response, which treq's own ``content`` would do without bound.

    :param limit: bytes; more fails with :class:`BodyTooLarge` and closes the connection.
    """
    parts: list[bytes] = []
    size = 0

    def take(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size > limit:
            parts.clear()
            raise BodyTooLarge("the reply is longer than its reader allows")
        parts.append(data)

    collected: Deferred[Any] = response.collect(take)
    return collected.addCallback(lambda _: b"".join(parts))


__all__ = ["BodyTooLarge", "Client", "NoCookies", "PreparedURL", "make_client", "read_body"]
