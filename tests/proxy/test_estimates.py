"""Usage of whole replies whose upstream does not say what they used."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.proxy.rig import Rig, json_reply


class EstimateTests(SynchronousTestCase):
    """Text that was delivered is never counted as nothing."""

    def written(self, reply: bytes, path: bytes) -> int:
        """Give the output tokens of the row of one call."""
        rig = Rig()
        rig.upstream.on_request = lambda peer: peer.send(reply)
        rig.send({"model": "m", "input": "hello", "messages": []}, path)
        self.assertEqual((rig.row.status, rig.row.source), (200, "estimated"))
        self.assertGreater(rig.row.tokens.input, 0)
        return rig.row.tokens.output

    def test_structured_replies(self) -> None:
        """Function calls and the items of a response count by their length."""
        call = {"id": "c", "type": "function", "function": {"name": "f" * 10, "arguments": "a" * 30}}
        for path, reply in (
            (b"/v1/chat/completions", {"choices": [{"message": {"content": None, "tool_calls": [call]}}]}),
            (b"/v1/responses", {"output": [{"type": "message", "content": [{"text": "a" * 40}]}]}),
        ):
            value: Any = reply
            self.assertEqual(self.written(json_reply(value), path), 10)

    def test_plain_text(self) -> None:
        """A plain-text reply is text; a binary one has no tokens."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 40\r\n\r\n"
        for kind, tokens in ((b"text/plain; charset=utf-8", 10), (b"Text/VTT", 10), (b"audio/mpeg", 0)):
            self.assertEqual(self.written(head % kind + b"x" * 40, b"/v1/audio/speech"), tokens)
