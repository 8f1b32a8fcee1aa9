"""Heads of upstream requests: what many have in common is encoded once, and checked like the rest."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from voidllm.http.request_head import HeadWriter
from voidllm.http.upstream import FixedHeaders, Origin, UpstreamRequest

ORIGIN = Origin("http", "up.example", 80)


def request(fixed: FixedHeaders, *headers: tuple[bytes, bytes]) -> UpstreamRequest:
    """Make a request with both kinds of headers."""
    return UpstreamRequest(ORIGIN, b"POST", b"/v1/x", headers, b"{}", fixed=fixed)


class FixedHeaderTests(SynchronousTestCase):
    """Headers that requests share."""

    def test_first_and_every_time(self) -> None:
        """They stand before the request's own, in every request that they are given with."""
        fixed = FixedHeaders(((b"authorization", b"Bearer sk"), (b"accept", b"*/*")))
        writer = HeadWriter(ORIGIN)
        for name in (b"one", b"two"):
            lines = writer.write(request(fixed, (b"x-request-id", name))).split(b"\r\n")
            self.assertEqual(
                lines[-6:],
                [
                    b"authorization: Bearer sk",
                    b"accept: */*",
                    b"x-request-id: " + name,
                    b"content-length: 2",
                    b"",
                    b"",
                ],
            )

    def test_framing_is_ours(self) -> None:
        """Fields that frame the message are dropped from them too."""
        fixed = FixedHeaders(((b"Content-Length", b"7"), (b"transfer-encoding", b"chunked")))
        head = HeadWriter(ORIGIN).write(request(fixed)).lower()
        self.assertEqual(head.count(b"content-length"), 1)
        self.assertNotIn(b"transfer-encoding", head)

    def test_line_breaks(self) -> None:
        """A line break in a value is refused each time, wherever the header comes from."""
        writer = HeadWriter(ORIGIN)
        bad = FixedHeaders(((b"accept", b"a\r\nb: c"),))
        for one in (request(bad), request(bad), request(FixedHeaders(()), (b"a", b"b\nc"), (b"d", b"\r"))):
            with self.assertRaises(ValueError):
                writer.write(one)

    def test_place_is_part_of_it(self) -> None:
        """The same headers with another method, target or origin begin another head."""
        fixed = FixedHeaders(((b"accept", b"*/*"),))
        writers = HeadWriter(ORIGIN), HeadWriter(Origin("http", "other.example", 80))
        for _ in range(2):
            for writer, host in zip(writers, (b"up.example", b"other.example"), strict=True):
                for method, target in ((b"POST", b"/a"), (b"PUT", b"/a"), (b"POST", b"/b")):
                    head = writer.write(UpstreamRequest(ORIGIN, method, target, (), b"{}", fixed=fixed))
                    start = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, host)
                    self.assertEqual(head[: len(start)], start)

    def test_origin(self) -> None:
        """A host that would end its line is refused."""
        for host in ("a\r\nx: y", "a b", "a\n", ""):
            with self.assertRaises(ValueError):
                HeadWriter(Origin("http", host, 80))

    def test_secrets_are_not_shown(self) -> None:
        """What is printed of them holds no value."""
        self.assertNotIn("sk", repr(FixedHeaders(((b"authorization", b"Bearer sk"),))))
