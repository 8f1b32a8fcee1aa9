"""The Python mock speaks OpenAI's wire format and fails as asked."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
from typing import Any

import openai
from pydantic import BaseModel
from twisted.trial.unittest import SynchronousTestCase

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ASK: Any = [{"role": "user", "content": "hello"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},
            },
        },
    }
    for name in ("weather", "time")
]


class MockCase(SynchronousTestCase):
    """Starts one mock for all tests of a class."""

    process: subprocess.Popen[str]
    port: int

    @classmethod
    def setUpClass(cls) -> None:
        cls.process = subprocess.Popen(
            [sys.executable, "-m", "bench.mocks.llm", "--port", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert cls.process.stdout is not None
        cls.port = int(cls.process.stdout.readline().split()[1])

    @classmethod
    def tearDownClass(cls) -> None:
        cls.process.terminate()
        cls.process.communicate()

    def setUp(self) -> None:
        self.call("DELETE", "/__mock/requests")
        self.client = openai.OpenAI(
            api_key="sk-x", base_url=f"http://127.0.0.1:{self.port}/v1", max_retries=0, timeout=5
        )
        self.addCleanup(self.client.close)

    def call(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any]:
        """Make one HTTP request with the standard library."""
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            conn.request(method, path, json.dumps(body) if body is not None else None, headers or {})
            reply = conn.getresponse()
            data = reply.read()
            self.reply_headers = dict(reply.getheaders())
            return reply.status, json.loads(data) if data[:1] in b"{[" else data
        finally:
            conn.close()

    def raw(self, model: str, stream: bool = True, timeout: float = 5) -> bytes:
        """Give all bytes that the mock sends for one chat request."""
        body = json.dumps({"model": model, "messages": ASK, "stream": stream}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout) as sock:
            sock.sendall(head.encode() + b"connection: keep-alive\r\n\r\n" + body)
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                try:
                    more = sock.recv(65536)
                except ConnectionResetError:
                    return data + b"<RST>"
                except TimeoutError:
                    return data + b"<silence>"
                if not more:
                    return data + b"<FIN>"
                data += more
            return data


class SDK(MockCase):
    """The official SDK understands every endpoint."""

    def test_chat(self) -> None:
        """A buffered chat has content, usage and the request's model."""
        got = self.client.chat.completions.create(model="m", messages=ASK, n=2, logprobs=True, seed=5)
        self.assertEqual(len(got.choices), 2)
        assert got.usage is not None and got.choices[0].logprobs is not None
        self.assertEqual(got.usage.completion_tokens, 32)
        self.assertEqual((got.model, got.system_fingerprint), ("m", "fp_mock_5"))

    def test_chat_stream_usage(self) -> None:
        """The usage chunk comes if and only if it was asked for, and text equals the buffered one."""
        plain = list(self.client.chat.completions.create(model="m", messages=ASK, stream=True))
        asked = list(
            self.client.chat.completions.create(
                model="m", messages=ASK, stream=True, stream_options={"include_usage": True}
            )
        )
        whole = self.client.chat.completions.create(model="m", messages=ASK)
        self.assertFalse(any(c.usage for c in plain))
        self.assertEqual([bool(c.usage) for c in asked], [False] * (len(asked) - 1) + [True])
        self.assertEqual(asked[-1].choices, [])
        text = "".join(c.choices[0].delta.content or "" for c in plain)
        self.assertEqual(text, whole.choices[0].message.content)

    def test_tools(self) -> None:
        """Parallel calls come buffered and as argument fragments; a tool result gets text."""
        got = self.client.chat.completions.create(model="m", messages=ASK, tools=TOOLS)
        calls = got.choices[0].message.tool_calls or []
        self.assertEqual(got.choices[0].finish_reason, "tool_calls")
        with self.client.chat.completions.stream(model="m", messages=ASK, tools=TOOLS) as stream:
            final = stream.get_final_completion()
        streamed = final.choices[0].message.tool_calls or []
        self.assertEqual([c.function.name for c in calls], ["weather", "time"])  # type: ignore[union-attr]
        self.assertEqual(
            [c.function.arguments for c in calls],  # type: ignore[union-attr]
            [c.function.arguments for c in streamed],
        )
        after = [*ASK, {"role": "tool", "tool_call_id": "x", "content": "sunny"}]
        got = self.client.chat.completions.create(model="m", messages=after, tools=TOOLS)
        self.assertEqual(got.choices[0].finish_reason, "stop")

    def test_structured(self) -> None:
        """A JSON schema is answered with a value that it accepts."""

        class Inner(BaseModel):
            tags: list[str]
            size: int | None

        class Answer(BaseModel):
            name: str
            inner: Inner

        parsed = self.client.chat.completions.parse(model="mock-echo", messages=ASK, response_format=Answer)
        message = parsed.choices[0].message
        assert message.parsed is not None
        self.assertEqual(message.parsed.name, "hello")
        got = self.client.responses.parse(model="mock-echo", input="hi", text_format=Answer)
        assert got.output_parsed is not None
        self.assertEqual(got.output_parsed.inner.tags, ["hi"])

    def test_embeddings(self) -> None:
        """Float and base64 vectors are equal."""
        floats = self.client.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
        packed = self.client.embeddings.create(model="m", input=["a", "b"])
        self.assertEqual([d.embedding for d in floats.data], [d.embedding for d in packed.data])

    def test_responses(self) -> None:
        """The typed events end with response.completed and its usage; text matches the buffered reply."""
        whole = self.client.responses.create(model="m", input="hello")
        events = list(self.client.responses.create(model="m", input="hello", stream=True))
        self.assertEqual(events[0].type, "response.created")
        self.assertEqual(events[-1].type, "response.completed")
        deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        self.assertEqual(deltas, whole.output_text)
        assert whole.usage is not None
        self.assertEqual(whole.usage.output_tokens, 16)
        tools: Any = [{"type": "function", "name": "f", "strict": None, "parameters": {"type": "object"}}]
        got = self.client.responses.create(model="m", input="x", tools=tools)
        self.assertEqual(got.output[0].type, "function_call")

    def test_audio_and_images(self) -> None:
        """An uploaded file arrives whole; speech is binary; images carry usage."""
        data = os.urandom(300_000)
        digest = hashlib.sha256(data).hexdigest()
        heard = self.client.audio.transcriptions.create(model="m", file=("a.wav", data))
        self.assertEqual(heard.text, f"size=300000 sha256={digest}")
        streamed = list(self.client.audio.transcriptions.create(model="m", file=("a.wav", data), stream=True))
        self.assertEqual(getattr(streamed[-1], "text", None), heard.text)
        spoken = self.client.audio.speech.create(model="m", voice="alloy", input="one two")
        self.assertEqual(len(spoken.read()), 2048)
        image = self.client.images.generate(model="m", prompt="a cat")
        assert image.usage is not None
        self.assertEqual(image.usage.output_tokens, 272)
        edited = self.client.images.edit(model="m", prompt="p", image=("i.png", data))
        assert edited.data is not None
        self.assertIn(digest, edited.data[0].revised_prompt or "")
        record = self.call("GET", "/__mock/requests?last=1")[1][0]
        self.assertEqual(record["form"]["files"][0]["sha256"], digest)

    def test_small_endpoints(self) -> None:
        """Completions, moderations, models and rerank answer in shape."""
        text = self.client.completions.create(model="m", prompt="echo:canary")
        self.assertEqual(text.choices[0].text, "canary")
        flagged = self.client.moderations.create(model="m", input="violence")
        self.assertTrue(flagged.results[0].flagged)
        self.assertIn("mock-model", [m.id for m in self.client.models.list()])
        ranked = self.call(
            "POST", "/v1/rerank", {"model": "m", "query": "a b", "documents": ["x", "a b"], "top_n": 1}
        )[1]
        self.assertEqual(ranked["results"], [{"index": 1, "relevance_score": 1.0}])

    def test_echo(self) -> None:
        """A canary is given back in text, stream and tool arguments."""
        ask: Any = [{"role": "user", "content": "echo:CANARY-1234567890"}]
        events = self.client.chat.completions.create(model="m", messages=ask, stream=True)
        self.assertEqual("".join(e.choices[0].delta.content or "" for e in events), "CANARY-1234567890")
        got = self.client.chat.completions.create(model="m", messages=ask, tools=TOOLS)
        self.assertIn("CANARY-1234567890", str(got.choices[0].message.tool_calls))


class FaultsOnTheWire(MockCase):
    """Each fault shows on the wire."""

    def test_status(self) -> None:
        """A status comes with Retry-After and the SDK's exception."""
        with self.assertRaises(openai.RateLimitError) as caught:
            self.client.chat.completions.create(model="mock-fault-status-429-7+ratelimit", messages=ASK)
        self.assertEqual(caught.exception.response.headers["x-ratelimit-limit-requests"], "777")
        status, _ = self.call(
            "POST", "/v1/embeddings", {"model": "mock-fault-status-503-1500ms", "input": "a"}
        )
        self.assertEqual((status, self.reply_headers["retry-after-ms"]), (503, "1500"))
        status, _ = self.call("POST", "/v1/embeddings", {"model": "mock-fault-nosuch", "input": "a"})
        self.assertEqual(status, 400)

    def test_cuts(self) -> None:
        """Cut, reset, stall and drop end where they should."""
        cut = self.raw("mock-fault-cut-3")
        self.assertEqual((cut.count(b"data: "), cut[-5:]), (3, b"<FIN>"))
        self.assertEqual(self.raw("mock-fault-reset-2")[-5:], b"<RST>")
        self.assertEqual(self.raw("mock-fault-drop"), b"<FIN>")
        stalled = self.raw("mock-fault-stall-2", timeout=0.05)
        self.assertEqual((stalled.count(b"data: "), stalled[-9:]), (2, b"<silence>"))
        self.assertEqual(self.raw("mock-fault-never", timeout=0.05), b"<silence>")
        self.assertEqual(self.raw("mock-fault-cut", stream=False)[-5:], b"<FIN>")
        self.assertTrue(self.raw("mock-fault-cuthead").endswith(b"appli<FIN>"))

    def test_stream_shapes(self) -> None:
        """Line ends, comments, missing [DONE], bad chunk, error event, huge line, 1xx, EOF and 1.0."""
        self.assertNotIn(b"[DONE]", self.raw("mock-fault-nodone"))
        self.assertIn(b"data: [DONE]\r\n\r\n", self.raw("mock-fault-crlf"))
        self.assertIn(b"data: [DONE]\r\r", self.raw("mock-fault-cr"))
        self.assertIn(b": keep-alive\n", self.raw("mock-fault-comments"))
        self.assertIn(b"mock_error", self.raw("mock-fault-errorevent-2"))
        self.assertIn(b"x" * 100_000, self.raw("mock-fault-hugeline-100000"))
        self.assertTrue(self.raw("mock-fault-early-103").startswith(b"HTTP/1.1 103 "))
        self.assertTrue(self.raw("mock-fault-eof").endswith(b"[DONE]\n\n<FIN>"))
        self.assertTrue(self.raw("mock-fault-http10").startswith(b"HTTP/1.0 200"))
        self.assertIn(b"zz\r\n", self.raw("mock-fault-badframing", timeout=0.05))
        plain = self.raw("mock-model").partition(b"\r\n\r\n")[2]
        for fault in ("split-3", "drip-0-50"):
            name = f"mock-fault-{fault}"
            got = self.raw(name).partition(b"\r\n\r\n")[2]
            self.assertEqual(got.count(b"data: "), plain.count(b"data: "))

    def test_rules(self) -> None:
        """A rule applies to the path and as often as it says."""
        rule = {"fault": "status-500", "path": "/embeddings", "times": 1}
        self.call("POST", "/__mock/faults", rule)
        body = {"model": "m", "input": "a", "messages": ASK}
        self.assertEqual(self.call("POST", "/v1/chat/completions", body)[0], 200)
        self.assertEqual(self.call("POST", "/v1/embeddings", body)[0], 500)
        self.assertEqual(self.call("POST", "/v1/embeddings", body)[0], 200)
        self.assertEqual(self.call("POST", "/__mock/faults", {"fault": "nosuch"})[0], 400)
        self.call("POST", "/__mock/faults", {"fault": "earlyreply", "times": 1})
        self.assertEqual(self.call("POST", "/v1/embeddings", body)[0], 413)

    def test_records(self) -> None:
        """It shows heads and bodies, and that a cancelled call ended."""
        self.raw("mock-fault-stall-1", timeout=0.05)
        seen = self.call("GET", "/__mock/requests?last=1")[1][0]
        self.assertEqual((seen["target"], seen["outcome"]), ("/v1/chat/completions", "client_gone"))
        self.assertEqual(seen["json"]["messages"], ASK)
        state = self.call("GET", "/__mock/state")[1]
        self.assertEqual((state["in_flight"], state["outcomes"]), (0, {"client_gone": 1}))

    def test_framing(self) -> None:
        """Chunked request bodies, pipelining and 100-continue work."""
        body = b'{"model":"m","input":"a"}'
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\n"
        chunked = head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        sized = head + b"expect: 100-continue\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )
        with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
            sock.sendall(chunked + sized)
            data = b""
            while data.count(b"HTTP/1.1 200") < 2:
                data += sock.recv(65536)
        self.assertEqual(data.count(b'"embedding":['), 2)
