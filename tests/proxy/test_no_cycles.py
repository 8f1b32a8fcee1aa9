"""What a request leaves behind goes at once, without the garbage collector."""

from __future__ import annotations

import gc

from tests.proxy.rig import DONE, STREAM_HEAD, USAGE, chunk, event, json_reply
from tests.proxy.test_exchange import REPLY, RigCase
from voidllm.proxy.exchange import Exchange


class NoCyclesTests(RigCase):
    """Exchanges are gone with their replies: looking for them was 5 % of a busy process."""

    def setUp(self) -> None:
        """Only what is counted here may collect."""
        super().setUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def assert_gone(self) -> None:
        """Assert that no exchange exists any more."""
        self.rig.spin(1, 0.05)
        self.assertEqual([found for found in gc.get_objects() if isinstance(found, Exchange)], [])

    def test_buffered(self) -> None:
        """A buffered reply, be it new to its connection or like the one before."""
        self.script(json_reply(REPLY))
        for _ in range(3):
            self.assertEqual(self.rig.chat().status, 200)
        self.assert_gone()

    def test_stream(self) -> None:
        """A stream that is read to its end."""
        self.script(STREAM_HEAD + chunk(event("a")), chunk(USAGE + DONE) + b"0\r\n\r\n")
        self.assertEqual(self.rig.chat(stream=True).status, 200)
        self.assert_gone()

    def test_other_kinds(self) -> None:
        """A binary reply, and one that says no."""
        self.script(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 3\r\n\r\nabc")
        self.assertEqual(self.rig.chat().status, 200)
        self.script(json_reply({"error": {}}, b"429 Too Many Requests"))
        self.assertEqual(self.rig.chat().status, 429)
        self.assert_gone()
