"""Messages that two parsers could read differently: refused alike on both faces."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.http.memory import Connected, memory_world
from tests.http.wire import Echo, get, post
from voidllm.core.ids import is_uuid
from voidllm.http.front import FrontFactory
from voidllm.http.resource import ProxyResource
from voidllm.http.site import StrictSite

H = b"Host: h\r\n"
HIDDEN = b"GET /v1/hidden HTTP/1.1\r\nHost: h\r\n\r\n"


def chunked(body: bytes, *headers: bytes) -> bytes:
    """Write a chunked request with a body as given."""
    extra = b"".join(header + b"\r\n" for header in headers)
    return b"POST /v1/a HTTP/1.1\r\n" + H + extra + b"Transfer-Encoding: chunked\r\n\r\n" + body


def with_fields(*fields: bytes, body: bytes = b"") -> bytes:
    """Write a POST with these fields and Host."""
    return b"POST /v1/a HTTP/1.1\r\n" + H + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


#: Refused at the head: name, bytes, status.
HEADS: list[tuple[str, bytes, int]] = [
    ("http 0.9", b"GET /v1/a\r\n\r\n", 400),
    ("http 2.0", b"GET /v1/a HTTP/2.0\r\n" + H + b"\r\n", 400),
    ("http 1.2", b"GET /v1/a HTTP/1.2\r\n" + H + b"\r\n", 400),
    ("http 3", b"GET /v1/a HTTP/3\r\n" + H + b"\r\n", 400),
    ("http2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("lower-case version", b"GET /v1/a http/1.1\r\n" + H + b"\r\n", 400),
    ("space after version", b"GET /v1/a HTTP/1.1 \r\n" + H + b"\r\n", 400),
    ("two spaces", b"GET  /v1/a HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("tab in the line", b"GET\t/v1/a HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("space in the target", b"GET /v1/a b HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("control in the target", b"GET /v1/\x01 HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("high byte in the target", b"GET /v1/\xe9 HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("target without slash", b"GET v1/a HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("absolute target with user", b"GET http://u@h/v1/a HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("absolute target without host", b"GET http:///v1/a HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("foreign scheme", b"GET ftp://h/v1/a HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("connect", b"CONNECT h:443 HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("trace", b"TRACE /v1/a HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("unknown method", b"BREW /v1/a HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("lower-case method", b"get /v1/a HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("no host", b"GET /v1/a HTTP/1.1\r\nX: y\r\n\r\n", 400),
    ("two hosts", b"GET /v1/a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("host list", b"GET /v1/a HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("cl and te", with_fields(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    ("te and cl", with_fields(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    ("two equal lengths", with_fields(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), 400),
    ("two lengths", with_fields(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), 400),
    ("length list", with_fields(b"Content-Length: 5, 5", body=b"hello"), 400),
    ("signed length", with_fields(b"Content-Length: +5", body=b"hello"), 400),
    ("negative length", with_fields(b"Content-Length: -5"), 400),
    ("hex length", with_fields(b"Content-Length: 0x5", body=b"hello"), 400),
    ("empty length", with_fields(b"Content-Length:"), 400),
    ("huge length", with_fields(b"Content-Length: 99999999999999999999999"), 400),
    ("length with underscore", with_fields(b"Content-Length: 1_0", body=b"0123456789"), 400),
    ("gzip, chunked", with_fields(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    ("chunked, chunked", with_fields(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 400),
    ("chunked twice", with_fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    ("xchunked", with_fields(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400),
    ("identity", with_fields(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"), 400),
    ("chunked and identity", with_fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 400),
    ("empty te", with_fields(b"Transfer-Encoding:"), 400),
    ("quoted te", with_fields(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 400),
    ("te with parameter", with_fields(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n"), 400),
    ("te with vertical tab", with_fields(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    ("te in http 1.0", b"POST /v1/a HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("space before colon", with_fields(b"Content-Length : 5", body=b"hello"), 400),
    ("space before name", b"GET /v1/a HTTP/1.1\r\n Host: h\r\n\r\n", 400),
    ("obs-fold", with_fields(b"X: a\r\n b"), 400),
    ("folded length", with_fields(b"Content-Length:\r\n 5", body=b"hello"), 400),
    ("folded te", with_fields(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"), 400),
    ("bare cr in a value", with_fields(b"X: a\rb"), 400),
    ("bare lf in a value", with_fields(b"X: a\nY: b"), 400),
    ("lf only", b"GET /v1/a HTTP/1.1\nHost: h\n\n", 400),
    ("lf at the end", b"GET /v1/a HTTP/1.1\r\nHost: h\r\n\n", 400),
    ("nul in a value", with_fields(b"X: a\0b"), 400),
    ("control in a value", with_fields(b"X: a\x01b"), 400),
    ("no colon", with_fields(b"NoColon"), 400),
    ("empty name", with_fields(b": x"), 400),
    ("odd name", with_fields(b"A(b: x"), 400),
    ("high byte in a name", with_fields(b"H\xe9: x"), 400),
    ("two empty lines first", b"\r\n\r\nGET /v1/a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("other expectation", with_fields(b"Expect: 200-maybe"), 417),
    ("compressed", with_fields(b"Content-Encoding: br", b"Content-Length: 1", body=b"x"), 415),
    ("two encodings", with_fields(b"Content-Encoding: identity, gzip", b"Content-Length: 1", body=b"x"), 415),
    ("large field", with_fields(b"X: " + b"y" * 40_000), 431),
    ("large head", with_fields(*[b"X-%d: " % n + b"y" * 900 for n in range(60)]), 431),
    ("many fields", with_fields(*[b"X: y"] * 100), 431),
    ("100,000 fields", with_fields(*[b"X: y"] * 100_000), 431),
    ("long target", b"GET /v1/" + b"a" * 40_000 + b" HTTP/1.1\r\n" + H + b"\r\n", 431),
    ("endless line", b"A" * 40_000, 431),
]

#: Refused in the body.
BODIES: list[tuple[str, bytes, int]] = [
    ("size with lf", chunked(b"5\nhello\r\n0\r\n\r\n"), 400),
    ("size with 0x", chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    ("signed size", chunked(b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    ("empty size", chunked(b"\r\nhello\r\n0\r\n\r\n"), 400),
    ("no hex", chunked(b"xyz\r\nhello\r\n0\r\n\r\n"), 400),
    ("size overflow", chunked(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 400),
    ("chunk too long", chunked(b"3\r\nhello\r\n0\r\n\r\n"), 400),
    ("chunk too short", chunked(b"6\r\nhello\r\n0\r\n\r\n" + HIDDEN), 400),
    ("chunk without end", chunked(b"5\r\nhello0\r\n\r\n"), 400),
    ("chunk ending in lf", chunked(b"5\r\nhello\n0\r\n\r\n"), 400),
    ("nul in an extension", chunked(b"5;a=\0\r\nhello\r\n0\r\n\r\n"), 400),
    ("lf in an extension", chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
    ("large extension", chunked(b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n"), 400),
    ("many extensions", chunked(b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 2000), 400),
    ("length as trailer", chunked(b"0\r\nContent-Length: 5\r\n\r\n"), 400),
    ("bad trailer", chunked(b"0\r\nnonsense\r\n\r\n"), 400),
    ("large trailer", chunked(b"0\r\nX: " + b"y" * 10_000 + b"\r\n\r\n"), 431),
    ("leading blanks", chunked(b" 5\r\nhello\r\n0\r\n\r\n"), 400),
]


class Probes:
    """Sends each probe, with a hidden request behind it, whole and byte by byte."""

    def probe(self: Any, name: str, data: bytes, status: int) -> None:
        """Check the refusal of one probe."""
        sizes = [len(data) + len(HIDDEN)] if len(data) > 2000 else [len(data) + len(HIDDEN), 1]
        for size in sizes:
            handler = Echo()
            connection = Connected(self.make_factory(handler))
            whole = get(b"/v1/first") + data + HIDDEN
            connection.feed(*[whole[at : at + size] for at in range(0, len(whole), size)])
            replies = connection.replies()
            assert len(replies) == 2, (name, size, replies)
            assert replies[0].status == 200
            assert replies[1].status == status, (name, size, replies[1])
            assert replies[1].headers["connection"] == "close", name
            assert replies[1].headers["content-type"] == "application/json", name
            assert replies[1].error["request_id"] == replies[1].headers["x-request-id"], name
            assert is_uuid(replies[1].headers["x-request-id"].encode())
            assert b"/v1/hidden" not in handler.seen, name
            assert connection.transport.closed, name
            connection.leave()
            assert self.clock.getDelayedCalls() == [], name

    def test_heads(self) -> None:
        """Each ambiguous head is refused in JSON, the connection closed, nothing behind it served."""
        for name, data, status in HEADS:
            self.probe(name, data, status)

    def test_bodies(self) -> None:
        """Each broken chunked body is refused in the same way."""
        for name, data, status in BODIES:
            self.probe(name, data, status)

    def test_tolerated(self: Any) -> None:
        """What is odd but certain is served, and the request behind it is found."""
        for data in [
            b"\r\n" + get(b"/v1/a"),
            get(b"/v1/a", b"X:no space", b"Y:", b"Z: \xe9\xff \t"),
            with_fields(b"Content-Length: 0005", body=b"hello"),
            with_fields(b"Transfer-Encoding: CHUNKED", body=b"5\r\nhello\r\n0\r\n\r\n"),
            with_fields(b"CONTENT-LENGTH:5", body=b"hello"),
            with_fields(b"Content-Encoding: identity", b"Content-Length: 5", body=b"hello"),
            post(b"/v1/a", b"hello", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: x"),
            b"OPTIONS /v1/a HTTP/1.1\r\nHost: h\r\n\r\n",
        ]:
            handler = Echo()
            connection = Connected(self.make_factory(handler))
            connection.feed(data + HIDDEN)
            assert [reply.status for reply in connection.replies()] == [200, 200], data
            assert handler.seen[1] == b"/v1/hidden"
            connection.leave()


class FrontProbes(Probes, SynchronousTestCase):
    """The probes on the fast front."""

    def make_factory(self, handler: Any) -> Any:
        """Make a front on a clock."""
        self.clock = Clock()
        return FrontFactory(memory_world(self.clock), handler)

    @settings(max_examples=60)
    @given(st.data())
    def test_any_segmentation(self, data: Any) -> None:
        """However a mix of good and bad messages is cut, the replies are the same."""
        good = st.sampled_from(
            [
                get(b"/v1/a"),
                post(b"/v1/b", b"hello"),
                post(b"/v1/stream", b"0123456789abc"),
                chunked(b"5\r\nhello\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n"),
                post(b"/v1/head", b"unread"),
                b"\r\n" + get(b"/v1/boom"),
                post(b"/v1/c", b"GET /v1/x HTTP/1.1\r\nHost: h\r\n\r\n"),
                get(b"/v1/d", b"Upgrade: h2c", b"Connection: upgrade"),
            ]
        )
        bad = st.sampled_from([item[1] for item in HEADS + BODIES if len(item[1]) < 2000])
        messages = b"".join(data.draw(st.lists(good, max_size=5))) + data.draw(bad | good)
        sizes = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=6))
        results = []
        for cuts in ([len(messages)], sizes):
            handler = Echo()
            connection = Connected(self.make_factory(handler))
            position = index = 0
            while position < len(messages):
                size = cuts[index % len(cuts)]
                connection.feed(messages[position : position + size])
                position += size
                index += 1
            replies = [(r.status, r.body if r.status == 200 else b"") for r in connection.replies()]
            normal = [(status, body.split(b'"id"')[0]) for status, body in replies]
            results.append((normal, handler.seen, connection.transport.closed))
            connection.leave()
        assert results[0] == results[1]


class SiteProbes(Probes, SynchronousTestCase):
    """The probes on the twisted.web face."""

    def make_factory(self, handler: Any) -> Any:
        """Make a strict Site on a clock."""
        self.clock = Clock()
        world = memory_world(self.clock)
        return StrictSite(world, ProxyResource(world, handler))
