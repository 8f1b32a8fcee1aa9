"""How much text a reply delivers."""

import json

from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.usage import TokenCounts
from voidllm.usage.metering import meter_reply
from voidllm.usage.reply_text import text_size


class TextSizeTests(SynchronousTestCase):
    """Text is found wherever a model puts it, and nowhere else."""

    def test_everywhere(self) -> None:
        """Content, refusals, reasoning, function calls, output items and transcriptions count."""
        call = {"id": "ignored", "type": "function", "function": {"name": "ab", "arguments": "{}"}}
        item = {"type": "function_call", "name": "ab", "arguments": "{}", "call_id": "ignored"}
        for reply, size in (
            ({"choices": [{"text": "abcd"}, {"text": "ef"}]}, 6),
            ({"choices": [{"message": {"role": "assistant", "content": "abc"}}]}, 3),
            ({"choices": [{"message": {"content": [{"type": "text", "text": "abc"}]}}]}, 3),
            ({"choices": [{"message": {"content": None, "refusal": "no"}}]}, 2),
            ({"choices": [{"message": {"content": "a", "reasoning_content": "bc"}}]}, 3),
            ({"choices": [{"message": {"content": None, "tool_calls": [call, call]}}]}, 8),
            ({"output": [{"type": "message", "content": [{"type": "output_text", "text": "abc"}]}]}, 3),
            ({"output": [item, {"type": "reasoning", "summary": [{"text": "abc"}]}]}, 7),
            ({"text": "heard", "segments": [{"text": "heard"}]}, 5),
            ({"data": [{"embedding": "AAAA", "b64_json": "AAAA"}]}, 0),
        ):
            self.assertEqual(text_size(reply), size, reply)

    def test_odd_shapes(self) -> None:
        """Shapes that no upstream should send count as nothing."""
        for value in (
            None,
            7,
            "x",
            [None, 7],
            {"a": 1},
            [{"message": 7}],
            [{"message": {"tool_calls": [1]}}],
        ):
            self.assertEqual(text_size({"choices": value}), 0)
            self.assertEqual(text_size({"output": value}), 0)

    def test_large_reply(self) -> None:
        """A large reply that tells no tokens is measured too."""
        for more in ({}, {"usage": None}, {"usage": {"type": "duration", "seconds": 2}}):
            body = json.dumps({"text": "x" * 100_000, "segments": ["y" * 1000], **more}).encode()
            self.assertEqual(meter_reply(body, 9).tokens, TokenCounts(input=9, output=25_000))
        vectors = json.dumps({"data": [{"embedding": "A" * 100_000}]}).encode()
        self.assertEqual(meter_reply(vectors, 9).tokens, TokenCounts(input=9))
