"""Tests of whole exchanges on a simulated network."""

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.proxy.rig import DONE, STREAM_HEAD, USAGE, Rig, chunk, event, json_reply
from voidllm.core.usage import TokenCounts

REPLY = {
    "choices": [{"message": {"content": "hi"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}


class RigCase(SynchronousTestCase):
    """A fresh rig for each test, and nothing left behind."""

    settings: dict = {}

    def setUp(self) -> None:
        """Build the rig."""
        self.rig = Rig(**self.settings)

    def script(self, *pieces: bytes, close: bool = False) -> None:
        """Let the upstream answer each request with ``pieces``, a millisecond apart."""

        def answer(peer) -> None:
            for index, piece in enumerate(pieces):
                self.rig.reactor.callLater(0.001 * index, peer.send, piece)
            if close:
                self.rig.reactor.callLater(0.001 * len(pieces), peer.transport.loseConnection)

        self.rig.upstream.on_request = answer

    def settled_down(self) -> None:
        """Assert that after a while nothing is left open or scheduled."""
        for client in list(self.rig.reactor.open):
            client.abortConnection()
        self.rig.spin(15, 0.05)
        self.assertEqual(self.rig.leftovers(), [])


class BufferedTests(RigCase):
    """Calls that do not stream."""

    def test_reply_and_row(self) -> None:
        """The reply goes through, and one row says what it used and cost."""
        self.script(json_reply(REPLY))
        client = self.rig.chat()
        self.assertEqual(client.status, 200)
        self.assertEqual(json.loads(client.body), REPLY)
        row = self.rig.row
        self.assertEqual(
            (row.status, row.model, row.deployment, row.source), (200, "m", "m", "provider_final")
        )
        self.assertEqual((row.tokens.prompt, row.tokens.completion, row.cost_nano), (10, 5, 20))
        self.settled_down()

    def test_upstream_request(self) -> None:
        """The upstream gets its own model name, its own key and our request id, nothing else."""
        self.script(json_reply(REPLY))
        client = self.rig.send(
            {"model": "m", "x": 1},
            headers=b"Cookie: secret=1\r\nX-Custom: canary\r\nOpenAI-Organization: o\r\n",
        )
        head, body = self.rig.upstream.requests[0]
        self.assertEqual(json.loads(body), {"model": "upstream-name", "x": 1})
        self.assertTrue(head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n"))
        lower = head.lower()
        self.assertIn(b"authorization: bearer sk-up", lower)
        for absent in (b"secret", b"canary", b"openai-organization", b"vl_uk"):
            self.assertNotIn(absent, lower)
        sent_id = lower.split(b"x-request-id: ")[1].split(b"\r\n")[0]
        self.assertIn(b"x-request-id: " + sent_id, client.received.lower())
        self.assertEqual(self.rig.row.request_id.encode(), sent_id)

    def test_forwarded_headers(self) -> None:
        """Retry hints are passed on; the upstream account's limits and ids are not."""
        extra = b"Retry-After: 7\r\nretry-after-ms: 6500\r\n"
        extra += b"x-ratelimit-limit-requests: 9\r\nX-Request-Id: theirs\r\n"
        self.script(json_reply({"error": {"message": "slow"}}, b"429 Too Many", extra))
        client = self.rig.chat()
        head = client.received.lower()
        self.assertEqual(client.status, 429)
        self.assertIn(b"retry-after: 7\r\n", head)
        self.assertIn(b"retry-after-ms: 6500\r\n", head)
        self.assertNotIn(b"x-ratelimit", head)
        self.assertNotIn(b"theirs", head)
        self.assertEqual((self.rig.row.status, self.rig.row.tokens.total), (429, 0))

    def test_faults_before_the_reply(self) -> None:
        """Each way of failing has its status and code, and a row without tokens."""
        for pieces, status, code in (
            ((b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",), 502, "upstream_incomplete"),
            ((b"nonsense\r\n\r\n",), 502, "upstream_malformed"),
            ((b"",), 502, "upstream_incomplete"),
            ((b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",), 502, "upstream_error"),
        ):
            with self.subTest(code=code, pieces=pieces):
                self.rig = Rig()
                self.script(*pieces, close=True)
                client = self.rig.chat()
                self.assertEqual((client.status, client.error()["code"]), (status, code))
                self.assertEqual((self.rig.row.status, self.rig.row.error_code), (status, code))
                self.assertEqual(self.rig.row.tokens.total, 0)

    def test_the_same_reply_again(self) -> None:
        """What a connection answered before is answered, and accounted for, as it was the first time."""
        binary = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 3\r\n\r\nabc"
        redirect = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
        events = event("a") + USAGE + DONE
        stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
        limited = json_reply({"error": {}}, b"429 Too Many Requests", b"Retry-After: 7\r\n")
        for reply in (json_reply(REPLY), limited, binary, redirect, stream % len(events) + events):
            for streams in (False, True):
                self.setUp()
                self.script(reply)
                asked = {"model": "m", "messages": [], "stream": streams}
                same_id = b"X-Request-Id: 0190b7a0-0000-7000-8000-000000000000\r\n"
                seen = [self.rig.send(asked, headers=same_id).received for _ in range(3)]
                self.assertEqual(seen[1:], [seen[0]] * 2)
                rows = [(r.status, r.error_code, r.tokens, r.source) for r in self.rig.journal.rows]
                self.assertEqual(rows, [rows[0]] * 3)
                self.settled_down()

    def test_no_upstream(self) -> None:
        """A refused connection is a 502 at once."""
        self.rig.reactor.ports.clear()
        self.rig.reactor.listenTCP(8080, self.rig.front)
        client = self.rig.chat()
        self.assertEqual((client.status, client.error()["code"]), (502, "upstream_unavailable"))

    def test_client_leaves_while_waiting(self) -> None:
        """A client that leaves takes its upstream call with it, and the prompt is accounted."""
        client = self.rig.chat()
        client.transport.abortConnection()
        self.rig.spin(0.05)
        self.assertFalse(self.rig.upstream.peers[0].open)
        row = self.rig.row
        self.assertEqual((row.status, row.error_code, row.source), (499, "client_closed", "estimated"))
        self.assertGreater(row.tokens.input, 0)
        self.settled_down()

    def test_client_leaves_in_its_body(self) -> None:
        """A client that leaves in the middle of its body has a row too."""
        client = self.rig.connect()
        client.transport.write(self.rig.request({"model": "m"})[:-3])
        self.rig.spin(0.05)
        client.transport.abortConnection()
        self.rig.spin(0.05)
        self.assertEqual((self.rig.row.status, self.rig.row.error_code), (499, "client_closed"))
        self.settled_down()

    def test_too_large_reply_again(self) -> None:
        """A reply over the limit is refused by a connection that knows its head too."""
        self.rig.core.settings = type(self.rig.core.settings)(spool_dir="/nowhere", max_response_body=100)
        self.script(json_reply(REPLY))
        self.rig.chat()
        self.script(json_reply({**REPLY, "id": "x" * 200}))
        self.assertEqual(self.rig.chat().error()["code"], "upstream_response_too_large")
        self.settled_down()

    def test_too_large_reply(self) -> None:
        """A reply above the limit is a 502, and the connection to the upstream is dropped."""
        self.rig.core.settings = type(self.rig.core.settings)(spool_dir="/nowhere", max_response_body=100)
        self.script(json_reply({"x": "y" * 200}))
        client = self.rig.chat()
        self.assertEqual((client.status, client.error()["code"]), (502, "upstream_response_too_large"))
        self.assertFalse(self.rig.upstream.peers[0].open)

    def test_refused_bodies_never_reach_an_upstream(self) -> None:
        """What is refused is refused here, with a row."""
        client = self.rig.send(b'{"model":"m","model":"other"}')
        self.assertEqual((client.status, client.error()["param"]), (400, "model"))
        self.assertEqual(self.rig.upstream.requests, [])
        self.assertEqual(self.rig.row.status, 400)

    def test_unknown(self) -> None:
        """Unknown models, paths and methods are refused in OpenAI's shape."""
        self.assertEqual(self.rig.send({"model": "canary"}).error()["code"], "model_not_found")
        self.assertEqual(self.rig.send({"model": "m"}, b"/v1/files").error()["code"], "unknown_endpoint")
        client = self.rig.connect()
        client.transport.write(self.rig.request({"model": "m"}).replace(b"POST", b"DELETE"))
        self.rig.spin()
        self.assertEqual((client.status, client.error()["code"]), (405, "method_not_allowed"))
        self.assertIn(b"allow: post", client.received.lower())
        self.assertEqual([row.status for row in self.rig.journal.rows], [404, 404, 405])
        self.assertNotIn("canary", repr(self.rig.journal.rows))

    def test_binary_reply_passes_through(self) -> None:
        """A reply that is not JSON goes out as it comes, with its disposition."""
        self.script(
            b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Disposition: attachment\r\n"
            b"Content-Length: 6\r\n\r\nabc",
            b"def",
        )
        client = self.rig.send({"model": "m", "input": "x"}, b"/v1/audio/speech")
        self.assertEqual(client.body, b"abcdef")
        self.assertIn(b"content-disposition: attachment", client.received.lower())
        self.assertEqual(self.rig.row.source, "estimated")

    def test_models(self) -> None:
        """The list of models is answered here and filtered by access."""
        client = self.rig.connect()
        client.transport.write(
            self.rig.request(b"", b"/v1/models")
            .replace(b"POST", b"GET")
            .replace(b"Content-Length: 0\r\n", b"")
        )
        self.rig.spin()
        self.assertEqual([m["id"] for m in json.loads(client.body)["data"]], ["m"])
        self.assertEqual(self.rig.journal.rows, [])


class StreamTests(RigCase):
    """Calls that stream."""

    def test_whole_stream(self) -> None:
        """Events go through as they are; the extra usage chunk does not."""
        self.script(STREAM_HEAD, *(chunk(e) for e in (event("a"), event("b"), USAGE, DONE)), b"0\r\n\r\n")
        client = self.rig.chat(stream=True)
        self.assertEqual(client.body, event("a") + event("b") + DONE)
        self.assertEqual(self.rig.upstream.body()["stream_options"], {"include_usage": True})
        row = self.rig.row
        self.assertEqual(
            (row.status, row.source, row.tokens.total, row.stream), (200, "provider_final", 10, True)
        )
        self.assertIsNotNone(row.ttft_ms)
        self.settled_down()

    def test_usage_chunk_if_asked_for(self) -> None:
        """A client that asked for usage gets the chunk."""
        self.script(STREAM_HEAD, *(chunk(e) for e in (event("a"), USAGE, DONE)), b"0\r\n\r\n")
        client = self.rig.chat(stream=True, stream_options={"include_usage": True})
        self.assertEqual(client.body, event("a") + USAGE + DONE)

    def test_connection_is_used_again(self) -> None:
        """After a whole stream the upstream connection serves the next call."""
        self.script(STREAM_HEAD, chunk(event("a")), chunk(DONE) + b"0\r\n\r\n")
        self.rig.chat(stream=True)
        self.rig.chat(stream=True)
        self.assertEqual(len(self.rig.upstream.peers), 1)

    def test_upstream_that_never_ends_after_done(self) -> None:
        """What follows the terminal event is ignored, and soon cut off."""
        self.script(STREAM_HEAD, chunk(event("a")), chunk(DONE), chunk(event("late")))
        client = self.rig.chat(stream=True)
        self.assertEqual(client.body, event("a") + DONE)
        self.rig.spin(5, 0.05)
        self.assertFalse(self.rig.upstream.peers[0].open)
        self.assertEqual(self.rig.row.status, 200)
        self.settled_down()

    def test_cut_after_events(self) -> None:
        """A cut stream is never a clean end: one error event, no [DONE], and the text is charged."""
        self.script(STREAM_HEAD, chunk(event("aaaa")), chunk(event("bbbb")), close=True)
        client = self.rig.chat(stream=True)
        last = client.body.split(b"\n\n")[-2]
        self.assertEqual(json.loads(last[6:])["error"]["code"], "stream_incomplete")
        self.assertNotIn(b"[DONE]", client.body)
        row = self.rig.row
        self.assertEqual((row.status, row.error_code, row.source), (502, "stream_incomplete", "estimated"))
        self.assertGreaterEqual(row.tokens.output, 2)
        self.settled_down()

    def test_end_without_done(self) -> None:
        """A reply that ends by its framing, but without its terminal event, is cut too."""
        self.script(STREAM_HEAD, chunk(event("a")), b"0\r\n\r\n")
        client = self.rig.chat(stream=True)
        self.assertIn(b"stream_incomplete", client.body)
        self.assertEqual(self.rig.row.status, 502)

    def test_unterminated_done(self) -> None:
        """A terminal event without its last blank line is accepted as complete."""
        self.script(STREAM_HEAD, chunk(event("a")), chunk(b"data: [DONE]"), b"0\r\n\r\n")
        client = self.rig.chat(stream=True)
        self.assertNotIn(b"error", client.body)
        self.assertEqual(self.rig.row.status, 200)
        self.settled_down()

    def test_cut_before_the_first_event_is_a_real_status(self) -> None:
        """Until the first event a fault can still be told by a status."""
        self.script(STREAM_HEAD, chunk(b": comment\n\n"), close=True)
        client = self.rig.chat(stream=True)
        self.assertEqual((client.status, client.error()["code"]), (502, "upstream_incomplete"))

    def test_refusal_instead_of_a_stream(self) -> None:
        """An upstream that answers a streaming call with an error is passed on."""
        self.script(json_reply({"error": {"message": "no"}}, b"400 Bad Request"))
        client = self.rig.chat(stream=True)
        self.assertEqual((client.status, json.loads(client.body)["error"]["message"]), (400, "no"))
        self.settled_down()

    def test_malformed_event(self) -> None:
        """An event that is not JSON ends the stream by an error event."""
        self.script(STREAM_HEAD, chunk(event("a")), chunk(b"data: {oops\n\n"))
        client = self.rig.chat(stream=True)
        self.assertIn(b"stream_malformed", client.body)
        self.rig.spin(0.05)
        self.assertFalse(self.rig.upstream.peers[0].open)

    def test_error_event_of_the_upstream(self) -> None:
        """An error that the upstream reports is passed on once."""
        self.script(
            STREAM_HEAD, chunk(event("a")), chunk(b'data: {"error":{"message":"x"}}\n\n'), b"0\r\n\r\n"
        )
        client = self.rig.chat(stream=True)
        self.assertEqual(client.body.count(b"error"), 1)
        self.assertEqual(self.rig.row.status, 502)

    def test_line_ends_and_joined_data(self) -> None:
        """CR LF, no space after the colon, events split over segments: all are understood."""
        self.script(
            STREAM_HEAD,
            chunk(b'data:{"choices":[{"delta":{"con'),
            chunk(b'tent":"a"}}]}\r\n\r'),
            chunk(b"\ndata:[DONE]\r\n\r\n"),
            b"0\r\n\r\n",
        )
        client = self.rig.chat(stream=True)
        self.assertNotIn(b"error", client.body)
        self.assertEqual(self.rig.row.status, 200)

    def test_client_leaves(self) -> None:
        """A client that leaves ends the upstream; delivered text is charged."""
        self.script(STREAM_HEAD, chunk(event("aaaaaaaa")))
        client = self.rig.chat(stream=True)
        client.transport.abortConnection()
        self.rig.spin(0.05)
        self.assertFalse(self.rig.upstream.peers[0].open)
        row = self.rig.row
        self.assertEqual((row.status, row.error_code), (200, "client_closed"))
        self.assertEqual(row.tokens.output, 2)
        self.settled_down()

    def test_commit_and_keep_alive(self) -> None:
        """A silent upstream: the head goes out after a while, then comments."""
        self.rig.upstream.on_request = lambda peer: None
        client = self.rig.chat(stream=True)
        self.rig.spin(14, 0.1)
        self.assertEqual(client.received, b"")
        self.rig.spin(3, 0.1)
        self.assertEqual((client.status, client.body.count(b": keep-alive\n\n")), (200, 1))
        self.rig.spin(16, 0.1)
        self.assertEqual(client.body.count(b": keep-alive\n\n"), 2)
        self.rig.upstream.peers[0].transport.loseConnection()
        self.rig.spin(0.1)
        self.assertIn(b"stream_incomplete", client.body)
        self.settled_down()

    def test_late_error_status(self) -> None:
        """After an early head even a real status can only be an error event."""
        client = self.rig.chat(stream=True)
        self.rig.spin(17, 0.1)
        self.rig.upstream.peers[0].send(json_reply({"error": {"message": "x"}}, b"500 Oops"))
        self.rig.spin(0.1)
        self.assertIn(b"stream_incomplete", client.body)
        self.assertEqual(self.rig.row.status, 502)
        self.settled_down()

    def test_stall(self) -> None:
        """An upstream that stops in the middle is given up after the idle timeout."""
        self.script(STREAM_HEAD, chunk(event("a")))
        client = self.rig.chat(stream=True)
        self.rig.spin(118, 0.5)
        self.assertNotIn(b"error", client.body)
        self.rig.spin(4, 0.5)
        self.assertIn(b"stream_incomplete", client.body)
        self.settled_down()

    def test_slow_client_holds_the_upstream_back(self) -> None:
        """When the client stops reading, so does the proxy; nothing piles up."""

        def pour(peer) -> None:
            peer.send(STREAM_HEAD)
            for _ in range(400):
                peer.send(chunk(event("x" * 10_000)))

        self.rig.upstream.on_request = pour
        client = self.rig.connect()
        client.transport.pauseProducing()
        client.transport.write(self.rig.request({"model": "m", "messages": [], "stream": True}))
        self.rig.spin(1)
        held = sum(len(part) for end in self.rig.reactor.open for part in end._incoming)
        self.assertGreater(held, 3_000_000)
        client_end = sum(map(len, client.transport._incoming))
        self.assertLess(client_end, 600_000)
        client.transport.resumeProducing()
        self.rig.spin(1)
        self.assertEqual(client.body.count(b"data: "), 400)
        client.transport.abortConnection()
        self.settled_down()

    def test_shut_down(self) -> None:
        """At the end of drain a stream gets its error event and its row."""
        self.script(STREAM_HEAD, chunk(event("a")))
        client = self.rig.chat(stream=True)
        self.rig.handler.shut_down()
        self.rig.spin(0.1)
        self.assertIn(b"server_shutdown", client.body)
        self.assertEqual(self.rig.row.error_code, "server_shutdown")
        self.settled_down()


class LimitedStreamTests(RigCase):
    """Deadlines that are off unless set."""

    settings = {"first_token_timeout_s": 5.0, "max_stream_duration_s": 20.0}

    def test_first_token(self) -> None:
        """No token in time is a 504 while there is no head yet."""
        client = self.rig.chat(stream=True)
        self.rig.spin(7, 0.1)
        self.assertEqual((client.status, client.error()["code"]), (504, "upstream_timeout"))
        self.settled_down()

    def test_duration(self) -> None:
        """A stream that takes too long ends by an error event that says so."""

        def drip(peer) -> None:
            peer.send(STREAM_HEAD)
            for second in range(30):
                self.rig.reactor.callLater(second, peer.send, chunk(event("a")))

        self.rig.upstream.on_request = drip
        client = self.rig.chat(stream=True)
        self.rig.spin(22, 0.1)
        self.assertIn(b"stream_timeout", client.body)
        self.assertGreaterEqual(self.rig.row.tokens.output, 19)
        self.rig.spin(12, 0.1)
        self.settled_down()


class DemoTests(RigCase):
    """The demo model goes through the same steps."""

    def setUp(self) -> None:
        """Add the demo model."""
        super().setUp()
        from voidllm.core.model import Deployment, Model

        demo = Deployment("demo", "demo", "demo", "", "demo")
        self.rig.models["demo"] = Model("demo", "chat", (demo,))
        self.rig.publish()

    def test_buffered_and_streamed(self) -> None:
        """Both ways give an answer and a row with the demo's counts."""
        client = self.rig.send({"model": "demo", "messages": [{"role": "user", "content": "hello"}]})
        self.assertEqual(json.loads(client.body)["model"], "demo")
        client = self.rig.send(
            {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
        )
        self.rig.spin(2, 0.01)
        self.assertTrue(client.body.endswith(DONE))
        self.assertEqual([row.source for row in self.rig.journal.rows], ["provider_final"] * 2)
        self.assertGreater(self.rig.journal.rows[1].tokens.output, 5)
        self.settled_down()

    def test_bad_request(self) -> None:
        """What the demo cannot read is a 400, not a crash."""
        client = self.rig.send({"model": "demo", "messages": {"a": 1}, "tools": [1], "response_format": 3})
        self.assertIn(client.status, (200, 400))
        self.assertEqual(self.rig.row.tokens, TokenCounts(input=1, output=self.rig.row.tokens.output))

    def test_what_overflows_is_answered(self) -> None:
        """Numbers without end and lists without bottom leave nobody waiting."""
        endless = b'{"type":"json_schema","json_schema":{"schema":{"type":"integer","minimum":1e400}}}'
        deep = b"[" * 900 + b"]" * 900
        for more in (
            b'"response_format":' + endless,
            b'"response_format":' + endless.replace(b'"type":"integer","minimum"', b'"const"'),
            b'"messages":[{"role":"user","content":' + deep + b"}]",
        ):
            client = self.rig.send(b'{"model":"demo",' + more + b"}")
            self.assertIn(client.status, (200, 400))
        self.assertEqual(self.rig.gate.in_flight, 0)


class UploadTests(RigCase):
    """Multipart bodies."""

    def form(self, *parts: tuple[str, str | None, bytes]) -> tuple[bytes, bytes]:
        """Write a multipart body; gives headers and body."""
        out = b""
        for name, filename, data in parts:
            disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
            out += f"--b\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
        return b"Content-Type: multipart/form-data; boundary=b\r\n", out + b"--b--\r\n"

    def upload(self, *parts: tuple[str, str | None, bytes]):
        """Send an upload."""
        headers, body = self.form(*parts)
        return self.rig.send(body, b"/v1/audio/transcriptions", headers)

    def test_model_before_and_after_the_file(self) -> None:
        """Wherever the model part is, the upstream gets its own name and the whole file."""
        self.script(json_reply({"text": "hi", "usage": {"input_tokens": 4, "output_tokens": 2}}))
        file = bytes(range(256)) * 20_000
        for order in (("model", "file"), ("file", "model")):
            with self.subTest(order=order):
                parts = {"model": ("model", None, b"m"), "file": ("file", "a.wav", file)}
                client = self.upload(*(parts[name] for name in order))
                self.rig.spin(3, 0.002)
                self.assertEqual(client.status, 200, client.received[:300])
                body = self.rig.upstream.requests[-1][1]
                self.assertIn(b"upstream-name", body)
                dechunked = b""
                while body:
                    size, _, rest = body.partition(b"\r\n")
                    dechunked += rest[: int(size, 16)]
                    body = rest[int(size, 16) + 2 :]
                self.assertIn(file, dechunked)
        self.assertEqual([row.tokens.total for row in self.rig.journal.rows], [6, 6])
        self.settled_down()

    def test_refusals(self) -> None:
        """Two models, no model, no multipart: refused before an upstream sees anything."""
        for parts in (
            (("model", None, b"m"), ("model", None, b"x"), ("file", "f", b"1")),
            (("file", "f", b"1"),),
            (("Model", None, b"m"),),
        ):
            with self.subTest(parts=parts):
                self.rig = Rig()
                client = self.upload(*parts)
                self.assertEqual((client.status, client.error()["param"]), (400, "model"))
                self.assertEqual(self.rig.row.status, 400)
        client = self.rig.send({"model": "m"}, b"/v1/audio/transcriptions")
        self.assertEqual(client.status, 400)

    def test_unknown_model(self) -> None:
        """An upload for a model that does not exist is refused without waiting for the file."""
        client = self.upload(("model", None, b"nope"), ("file", "f", b"1" * 1000))
        self.assertEqual((client.status, client.error()["code"]), (404, "model_not_found"))
        self.assertEqual(self.rig.upstream.requests, [])

    def test_client_leaves_in_the_file(self) -> None:
        """A client that leaves in the middle of its file ends the upstream call."""
        headers, body = self.form(("model", None, b"m"), ("file", "f", b"1" * 100_000))
        client = self.rig.connect()
        client.transport.write(self.rig.request(body, b"/v1/audio/transcriptions", headers)[:-50_000])
        self.rig.spin(0.2)
        self.assertEqual(len(self.rig.upstream.peers), 1)
        client.transport.abortConnection()
        self.rig.spin(0.2)
        self.assertFalse(self.rig.upstream.peers[0].open)
        self.assertEqual((self.rig.row.status, self.rig.row.error_code), (499, "client_closed"))
        self.settled_down()
