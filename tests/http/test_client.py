"""treq's traps are closed."""

from __future__ import annotations

import gzip
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from tests.http.rawserver import RawServer, ok, real_world
from voidllm.http.agent import CallPolicy, PoolAgent, UpstreamError
from voidllm.http.client import BodyTooLarge, PreparedURL, make_client, read_body
from voidllm.http.pool import UpstreamPool


class ClientTests(TestCase):
    """A client against a scripted server."""

    timeout = 10

    def setUp(self) -> None:
        """Start a server and a client."""
        self.server = RawServer(reactor)
        self.pool = UpstreamPool(real_world(reactor))
        self.client = make_client(self.pool, CallPolicy(head_timeout_s=5.0))
        self.url = f"http://127.0.0.1:{self.server.port}/a"

    async def tearDown(self) -> None:
        """Close both."""
        await self.pool.close()
        await self.server.stop()

    async def test_cookies_do_not_travel(self) -> None:
        """A cookie set by one reply is in no later request; treq's own client would send it."""
        self.server.answer(ok(b"", b"Set-Cookie: tenant=one; Path=/"))
        for _ in range(2):
            response = await self.client.get(self.url)
            self.assertEqual(await response.content(), b"")
        self.assertNotIn(b"cookie", self.server.requests[1][0].lower())
        self.assertEqual(len(response.cookies()), 0)
        theirs = HTTPClient(PoolAgent(self.pool))
        for _ in range(2):
            await (await theirs.get(self.url, reactor=reactor)).content()
        self.assertIn(b"cookie: tenant=one", self.server.requests[3][0].lower())
        with self.assertRaises(ValueError):
            self.client.get(self.url, cookies={"a": "b"})

    async def test_redirects_are_not_followed(self) -> None:
        """A redirect is an answer; the place it names is never visited."""
        elsewhere = RawServer(reactor)
        try:
            location = b"Location: http://127.0.0.1:%d/" % elsewhere.port
            self.server.answer(ok(b"moved", location).replace(b"200 OK", b"302 Found"))
            response = await self.client.get(self.url)
            self.assertEqual((response.code, await response.content()), (302, b"moved"))
            self.assertEqual(elsewhere.peers, [])
            for option in ("allow_redirects", "browser_like_redirects"):
                with self.assertRaises(ValueError):
                    self.client.get(self.url, **{option: True})
        finally:
            await elsewhere.stop()

    async def test_nothing_is_inflated(self) -> None:
        """gzip is not asked for, and a reply that is compressed all the same is refused unread."""
        bomb = gzip.compress(bytes(10_000_000))
        self.server.answer(ok(bomb, b"Content-Encoding: gzip"))
        error = await self.assertFailure(self.client.get(self.url), UpstreamError)
        self.assertEqual(error.failure.kind, "malformed")
        head = self.server.requests[0][0].lower()
        self.assertEqual(head.count(b"accept-encoding"), 1)
        self.assertIn(b"\r\naccept-encoding: identity\r\n", head)
        self.assertNotIn(b"gzip", head)

    async def test_posts(self) -> None:
        """JSON and bytes go out in one request with a known length."""
        self.server.answer(ok(b'{"b":2}'))
        response = await self.client.post(self.url, json={"a": 1})
        self.assertEqual(await response.json(), {"b": 2})
        response = await self.client.post(self.url, data=b"raw", headers={"X-C": "1"}, unbuffered=True)
        self.assertEqual(await read_body(response, 100), b'{"b":2}')
        self.assertEqual([body for _, body in self.server.requests], [b'{"a":1}', b"raw"])
        self.assertIn(b"\r\ncontent-length: 3", self.server.requests[1][0].lower())

    async def test_bounded_reading(self) -> None:
        """A body that is too long is not collected, and its connection is closed."""
        self.server.answer(ok(b"x" * 100_000))
        response = await self.client.get(self.url, unbuffered=True)
        await self.assertFailure(read_body(response, 1000), BodyTooLarge)
        await self.server.peers[0].lost()

    async def test_prepared_url(self) -> None:
        """A prepared URL is sent as it is written."""
        self.server.answer(ok())
        url: Any = PreparedURL.of(f"http://127.0.0.1:{self.server.port}/v1/%7Ea/./b?x=%2f&y")
        await (await self.client.get(url)).content()
        self.assertTrue(self.server.requests[0][0].startswith(b"GET /v1/%7Ea/./b?x=%2f&y HTTP/1.1"))
