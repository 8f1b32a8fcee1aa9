"""Tests for the demo model."""

import ujson
from twisted.trial.unittest import SynchronousTestCase

from voidllm.providers.demo import answer
from voidllm.providers.demo_schema import example


class DemoTests(SynchronousTestCase):
    """The demo model answers every endpoint without repeating what it was told."""

    def ask(self, endpoint: str, **request: object):
        """Ask the demo model and decode its only chunk."""
        reply = answer(endpoint, ujson.dumps({"model": "demo", **request}).encode())
        self.assertEqual(reply.status, 200)
        return ujson.loads(b"".join(reply.chunks))

    def test_chat_does_not_echo(self) -> None:
        """The answer counts the words and holds none of them."""
        reply = self.ask("chat/completions", messages=[{"role": "user", "content": "canary one two"}])
        self.assertNotIn("canary", ujson.dumps(reply))
        self.assertEqual(reply["usage"]["prompt_tokens"], 4)

    def test_stream_ends_properly(self) -> None:
        """A stream ends in usage, if asked for, and the terminal event."""
        body = {"model": "demo", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
        reply = answer("chat/completions", ujson.dumps(body).encode())
        self.assertEqual(reply.chunks[-1], b"data: [DONE]\n\n")
        self.assertIn(b'"choices":[]', reply.chunks[-2])

    def test_tools(self) -> None:
        """A tool is called with arguments that fit its parameters."""
        parameters = {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        }
        tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
        reply = self.ask("chat/completions", messages=[{"role": "user", "content": "x"}], tools=[tool])
        call = reply["choices"][0]["message"]["tool_calls"][0]["function"]
        self.assertEqual(
            (call["name"], ujson.loads(call["arguments"])), ("weather", {"city": "demo", "days": 1})
        )

    def test_every_endpoint(self) -> None:
        """Each endpoint has an answer."""
        self.assertEqual(len(self.ask("embeddings", input=["a", "b"])["data"]), 2)
        self.assertEqual(self.ask("responses", input="x")["status"], "completed")
        self.assertEqual(self.ask("completions", prompt="x")["object"], "text_completion")
        self.assertFalse(self.ask("moderations", input="x")["results"][0]["flagged"])
        self.assertEqual(len(self.ask("rerank", query="x", documents=["a", "b"])["results"]), 2)
        self.assertTrue(self.ask("images/generations", prompt="x")["data"][0]["b64_json"])
        self.assertTrue(answer("audio/speech", b'{"model":"demo","input":"x"}').chunks[0].startswith(b"RIFF"))
        self.assertIn(b"bytes", answer("audio/transcriptions", b"anything").chunks[0])

    def test_recursive_schema(self) -> None:
        """A schema that refers to itself ends."""
        schema = {"type": "object", "properties": {"next": {"$ref": "#"}}}
        self.assertIsInstance(example(schema), dict)

    def test_no_schema_is_worth_much(self) -> None:
        """A small schema cannot ask for billions of values, nor for a long text again and again."""
        twice = {"type": "object", "properties": {f"p{i}": {"$ref": "#"} for i in range(64)}}
        arrays: dict[str, object] = {"type": "string"}
        for _ in range(12):
            arrays = {"type": "array", "minItems": 8, "items": arrays}
        words = {"$defs": {"a": {"const": "x" * 10_000}}, "type": "array", "minItems": 8}
        words["items"] = {"type": "array", "minItems": 8, "items": {"$ref": "#/$defs/a"}}
        names = {"type": "object", "properties": {"n" * 10_000 + str(i): {"$ref": "#"} for i in range(4)}}
        for schema in (twice, arrays, words, names):
            self.assertLess(len(ujson.dumps(example(schema))), 100_000)

    def test_inputs_are_few(self) -> None:
        """The demo model answers on the reactor, so that nobody may ask it for too much at once."""
        for endpoint, field in (("embeddings", "input"), ("rerank", "documents")):
            body = ujson.dumps({"model": "demo", field: ["x"] * 2049}).encode()
            self.assertRaises(ValueError, answer, endpoint, body)

    def stream(self, endpoint: str, body: bytes) -> list[dict[str, object]]:
        """Ask the demo model for a stream and decode its events."""
        reply = answer(endpoint, body)
        self.assertEqual(reply.headers, ((b"content-type", b"text/event-stream"),))
        data = [chunk.partition(b"data: ")[2].strip() for chunk in reply.chunks]
        return [ujson.loads(one) for one in data if one != b"[DONE]"]

    def test_parallel_tools(self) -> None:
        """All functions are called at once, unless the caller chooses or forbids it."""
        tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in "ab"]
        request = {"messages": [{"role": "user", "content": "x"}], "tools": tools}

        def called(**more: object) -> list[str]:
            message = self.ask("chat/completions", **request, **more)["choices"][0]["message"]
            return [call["function"]["name"] for call in message.get("tool_calls", ())]

        self.assertEqual(called(), ["a", "b"])
        self.assertEqual(called(parallel_tool_calls=False), ["a"])
        self.assertEqual(called(tool_choice={"type": "function", "function": {"name": "b"}}), ["b"])
        self.assertEqual(called(tool_choice="none"), [])

    def test_responses_calls_and_schema(self) -> None:
        """The Responses API calls functions, takes their results, and answers by a schema."""
        tool = {"type": "function", "name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}}
        events = self.stream(
            "responses", ujson.dumps({"input": "x", "tools": [tool], "stream": True}).encode()
        )
        output = events[-1]["response"]["output"][0]
        self.assertEqual((output["type"], output["arguments"]), ("function_call", '{"n":1}'))
        given = [{"type": "function_call_output", "call_id": output["call_id"], "output": "1"}]
        reply = self.ask("responses", input=given, tools=[tool])
        self.assertEqual(reply["output"][0]["type"], "message")
        form = {"type": "json_schema", "schema": tool["parameters"]}
        reply = self.ask("responses", input="x", text={"format": form})
        self.assertEqual(reply["output"][0]["content"][0]["text"], '{"n":1}')

    def test_streamed_media(self) -> None:
        """Images, speech and transcriptions stream when asked to, and end in their own last event."""
        field = b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\nTrue\r\n--b--\r\n'
        for endpoint, body, last in (
            ("images/generations", b'{"prompt":"x","stream":true}', "image_generation.completed"),
            ("images/edits", field, "image_edit.completed"),
            ("audio/speech", b'{"input":"x","stream_format":"sse"}', "speech.audio.done"),
            ("audio/transcriptions", field, "transcript.text.done"),
        ):
            final = self.stream(endpoint, body)[-1]
            self.assertEqual(final["type"], last)
            self.assertIn("usage", final)
