"""What OpenAI's SDK raises when something is wrong: with the request, the key, or the upstream."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any, Callable

import openai

from tests.e2e.sdk import SDKCase, dead_base_url, models, say
from tests.e2e.sdk_calls import several_mib
from tests.harness import custom_model, request, wait_until

KIB = 1024

#: Upstream status and the SDK's class for it.
CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
    529: openai.InternalServerError,
}


class ErrorCase(SDKCase):
    """Looks at errors."""

    def chat(self, model: str = "chat", client: openai.OpenAI | None = None, **more: Any) -> Any:
        """Make a chat call; a stream is read to its end."""
        made = (client or self.client).chat.completions.create(model=model, messages=say(), **more)
        return list(made) if more.get("stream") else made

    def check_refusal(
        self, call: Callable[[], Any], status: int, code: str, param: str | None = None
    ) -> openai.APIStatusError:
        """Check that ``call`` raises the SDK's class for ``status``, with everything in it."""
        error: Any = self.assertRaises(CLASSES.get(status, openai.APIStatusError), call)
        if status not in CLASSES:
            kind = openai.InternalServerError if status >= 500 else openai.APIStatusError
            self.assertIs(type(error), kind)
        self.assertEqual((error.status_code, error.code, error.param), (status, code, param))
        self.assertEqual(set(error.body), {"message", "type", "param", "code", "request_id"})
        self.assertEqual(error.request_id, error.body["request_id"])
        self.assertEqual(len(error.request_id), 36)
        return error  # type: ignore[no-any-return]

    def check_row(self, error: openai.APIStatusError, status: int, code: str) -> None:
        """Check that a refusal has one usage row, without tokens."""
        (row,) = self.rows(error.request_id)
        self.assertEqual((row["status"], row["error_code"]), (status, code))
        self.assertEqual((row["input_tokens"], row["output_tokens"], row["cost_nano"] or 0), (0, 0, 0))


class RefusalTests(ErrorCase):
    """Errors that the gateway makes."""

    settings = {"server": {"proxy": {"max_request_body": 100 * KIB}}}

    @classmethod
    def more_models(cls) -> list[dict[str, Any]]:
        """Give models whose upstream is absent, silent or broken, too."""
        url = cls.mock.base_url
        return [
            *models(url),
            custom_model("gone", dead_base_url()),
            custom_model("silent", url, upstream_model="mock-fault-never", timeout="150ms"),
            custom_model("hanging-up", url, upstream_model="mock-fault-drop"),
            custom_model("resetting", url, upstream_model="mock-fault-droprst"),
            custom_model("babbling", url, upstream_model="mock-fault-badhead"),
            custom_model("half", url, upstream_model="mock-fault-cut-0"),
            custom_model("elsewhere", url, upstream_model="mock-fault-redirect"),
        ]

    def test_bad_fields(self) -> None:
        """A bad request is a BadRequestError that names the field, and reaches no upstream."""
        before = self.mock.get("/__mock/state")["requests_total"]
        for field, param in (
            ({"model": 7}, "model"),
            ({"model": ""}, "model"),
            ({"model": None}, "model"),
            ({"Model": "chat"}, "model"),
            ({"stream": "yes"}, "stream"),
            ({"stream_options": 5}, "stream_options"),
            ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
            ({"stream_options": {"Include_Usage": True}}, "stream_options"),
            ({"max_tokens": -1}, "max_tokens"),
            ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
            ({"n": "two"}, "n"),
        ):
            error = self.check_refusal(lambda: self.chat(extra_body=field), 400, "bad_request", param)  # noqa: B023
            self.assertNotIn("yes", error.message)
        self.check_row(error, 400, "bad_request")
        self.assertEqual(self.mock.get("/__mock/state")["requests_total"], before)

    def test_bad_uploads(self) -> None:
        """An upload without a model, or with two, is a BadRequestError that names it."""
        for values in ([], [b"listen", b"listen"], [b""]):
            files = [("file", ("a.wav", b"x" * 1000, "audio/wav")), *(("model", (None, v)) for v in values)]
            error = self.check_refusal(
                lambda: self.client.post(
                    "/audio/transcriptions",
                    cast_to=object,
                    files=files,  # noqa: B023
                    options={"headers": {"Content-Type": "multipart/form-data"}},
                ),
                400,
                "invalid_multipart",
                "model",
            )
        self.check_row(error, 400, "invalid_multipart")

    def test_unknown_key(self) -> None:
        """No key that is known: an AuthenticationError."""
        for key in ("vl_uk_" + "0" * 48, "sk-something"):
            error = self.check_refusal(
                lambda: self.chat(client=self.client_with(key)),  # noqa: B023
                401,
                "unauthorized",
            )
            self.assertNotIn(key, json.dumps(error.body))
        without = {"Authorization": openai.Omit()}
        self.check_refusal(lambda: self.chat(extra_headers=without), 401, "unauthorized")

    def test_unknown_model(self) -> None:
        """An unknown model is a NotFoundError, for a call, an upload and a look-up alike."""
        error = self.check_refusal(lambda: self.chat("nonesuch"), 404, "model_not_found", "model")
        self.check_row(error, 404, "model_not_found")
        upload = ("a.wav", b"x" * 1000, "audio/wav")
        for call in (
            lambda: self.chat("nonesuch", stream=True),
            lambda: self.client.audio.transcriptions.create(model="nonesuch", file=upload),
            lambda: self.client.models.retrieve("nonesuch"),
        ):
            self.check_refusal(call, 404, "model_not_found", "model")

    def test_unknown_endpoint(self) -> None:
        """What is not on the list of endpoints is a NotFoundError, whatever an upstream would say."""
        for call in (self.client.files.list, lambda: self.client.responses.retrieve("resp_1")):
            self.check_refusal(call, 404, "unknown_endpoint")

    def test_too_large(self) -> None:
        """A body over the limit is a 413, even if it is by far too large; the next call works."""
        for size in (101 * KIB, 6000 * KIB):
            big = say("x" * size)
            error = self.check_refusal(
                lambda: self.client.chat.completions.create(model="chat", messages=big),  # noqa: B023
                413,
                "request_too_large",
            )
            upload = ("a.wav", b"x" * size, "audio/wav")
            self.check_refusal(
                lambda: self.client.audio.transcriptions.create(model="listen", file=upload),  # noqa: B023
                413,
                "request_too_large",
            )
        self.check_row(error, 413, "request_too_large")
        self.assertTrue(self.chat().choices)

    def test_request_limit(self) -> None:
        """Too many requests are a RateLimitError that says when to try again."""
        client = self.client_with(self.new_key("--requests-per-minute", "1"))
        raw = client.chat.completions.with_raw_response.create(model="chat", messages=say())
        self.assertEqual(raw.headers["x-ratelimit-limit-requests"], "1")
        self.assertEqual(raw.headers["x-ratelimit-remaining-requests"], "0")

        error = self.check_refusal(lambda: self.chat(client=client), 429, "rate_limit_exceeded")
        # The window forgets by whole seconds.
        self.assertTrue(50 < int(error.response.headers["retry-after"]) <= 61)
        self.assertTrue(50_000 < int(error.response.headers["retry-after-ms"]) <= 61_000)
        self.check_row(error, 429, "rate_limit_exceeded")

    def test_token_limit(self) -> None:
        """What could use more tokens than are left is a RateLimitError before any upstream sees it."""
        client = self.client_with(self.new_key("--tokens-per-day", "500"))
        error = self.check_refusal(lambda: self.chat(client=client), 429, "token_limit_exceeded")
        # No wait helps a request that is over the limit all alone, and the SDK is told so.
        self.assertEqual(error.response.headers["x-should-retry"], "false")
        self.assertGreater(int(error.response.headers["retry-after"]), 0)
        self.assertTrue(self.chat(client=client, max_tokens=50).choices)
        # 23 tokens are used; what was reserved beyond that was given back.
        self.assertTrue(self.chat(client=client, max_tokens=430).choices)
        error = self.check_refusal(
            lambda: self.chat(client=client, max_tokens=440), 429, "token_limit_exceeded"
        )
        self.assertGreater(int(error.response.headers["retry-after"]), 0)

    def test_upstream_faults(self) -> None:
        """An upstream that is absent, silent or broken is an InternalServerError with its code."""
        for model, status, code in (
            ("gone", 502, "upstream_unavailable"),
            ("hanging-up", 502, "upstream_incomplete"),
            ("resetting", 502, "upstream_incomplete"),
            ("half", 502, "upstream_incomplete"),
            ("babbling", 502, "upstream_malformed"),
            ("elsewhere", 502, "upstream_error"),
            ("silent", 504, "upstream_timeout"),
        ):
            error = self.check_refusal(lambda: self.chat(model), status, code)  # noqa: B023
            if model not in ("silent", "half"):
                self.check_refusal(lambda: self.chat(model, stream=True), status, code)  # noqa: B023
        self.check_row(error, 504, "upstream_timeout")


class EarlyReplyTests(ErrorCase):
    """Errors that are known while the SDK is still sending several MB; it must get to read them."""

    def upload(self, model: str, client: openai.OpenAI | None = None) -> Any:
        """Send a file."""
        file = ("a.wav", several_mib(), "audio/wav")
        return (client or self.client).audio.transcriptions.create(model=model, file=file)

    def test_refusals(self) -> None:
        """A refusal of a large upload or body arrives, and so does the next request."""
        stranger = self.client_with("vl_uk_" + "0" * 48)
        limited = self.client_with(self.new_key("--no-models"))
        large = say("x" * (5 << 20))
        for _ in range(3):
            self.check_refusal(lambda: self.upload("listen", stranger), 401, "unauthorized")
            self.check_refusal(
                lambda: stranger.chat.completions.create(model="chat", messages=large), 401, "unauthorized"
            )
            self.check_refusal(lambda: self.upload("nonesuch"), 404, "model_not_found", "model")
            self.check_refusal(lambda: self.upload("listen", limited), 403, "model_access_denied", "model")
            self.assertTrue(self.chat().choices)

    def test_upstream_that_has_heard_enough(self) -> None:
        """An upstream that answers before it has read the file is understood."""
        for _ in range(3):
            self.rule("earlyreply", path="/audio/transcriptions")
            error: Any = self.assertRaises(openai.APIStatusError, self.upload, "listen")
            self.assertEqual((error.status_code, error.body["message"]), (413, "too large for the mock"))
            (row,) = self.rows(error.request_id)
            self.assertEqual((row["status"], row["error_code"]), (413, "upstream_status"))
            self.check_whole()

    def test_upstream_that_fails_in_the_file(self) -> None:
        """An upstream that fails after the file is told as any other."""
        for fault, status, code in (
            ("drop", 502, "upstream_incomplete"),
            ("status-500", 500, "mock_status"),
        ):
            self.rule(fault, path="/audio/transcriptions")
            error: Any = self.assertRaises(openai.InternalServerError, self.upload, "listen")
            self.assertEqual((error.status_code, error.code), (status, code))
            self.check_whole()

    def check_whole(self) -> None:
        """An upload works."""
        self.assertIn(f"size={len(several_mib())} ", self.upload("listen").text)


class EarlyReplyOnOtherPartsTests(EarlyReplyTests):
    """The same with twisted.web in front and treq behind."""

    settings = {"server": {"front": "twisted"}, "upstream": {"engine": "treq"}}


class UpstreamErrorTests(ErrorCase):
    """Errors that come from the upstream."""

    @classmethod
    def more_models(cls) -> list[dict[str, Any]]:
        """Give models whose streams break, too."""
        faults = (
            "cut-3",
            "nodone",
            "stall-5",
            "badchunk-3",
            "errorevent-3",
            "cut-0",
            "errorevent-0",
            "never",
        )
        url = cls.mock.base_url
        # Between the events and the reset is time for the former to be read.
        reset = custom_model("reset-3", url, upstream_model="mock-fault-reset-3+interval-10")
        broken = [custom_model(fault, url, upstream_model=f"mock-fault-{fault}") for fault in faults]
        return [*models(url), *broken, reset]

    def test_status_and_body(self) -> None:
        """The upstream's own error is what the SDK raises, from buffered calls and from streams."""
        for status, kind in CLASSES.items():
            for stream in (False, True):
                self.rule(f"status-{status}", model="mock-model")
                error: Any = self.assertRaises(kind, self.chat, stream=stream)
                self.assertEqual((error.status_code, error.code), (status, "mock_status"))
                self.assertEqual(error.body["message"], f"mock answers {status}")
                self.assertEqual(len(error.request_id), 36)
        self.check_row(error, 529, "upstream_status")

    def test_retry_after(self) -> None:
        """The upstream's word on when to try again reaches the SDK; its account's limits do not."""
        for fault, name, value in (
            ("status-429-7", "retry-after", "7"),
            ("status-429-1500ms", "retry-after-ms", "1500"),
            ("status-503-9", "retry-after", "9"),
            ("status-429+ratelimit", "retry-after-ms", "3500"),
        ):
            for stream in (False, True):
                self.rule(fault, model="mock-model")
                error: Any = self.assertRaises(openai.APIStatusError, self.chat, stream=stream)
                self.assertEqual(error.response.headers[name], value)
                self.assertEqual([n for n in error.response.headers if n.startswith("x-ratelimit")], [])

    def test_sdk_tries_again(self) -> None:
        """The SDK's own second attempt works; both attempts have their row."""
        made = self.make_key()
        self.rule("status-429-5ms", model="mock-model")
        with self.sdk(made["key"], max_retries=1) as client:
            self.assertTrue(self.chat(client=client).choices)
        rows = [row for row in self.gateway.usage("key,status") if row["key"] == made["id"]]
        self.assertEqual(sorted((r["status"], r["total_requests"]) for r in rows), [("200", 1), ("429", 1)])

    def test_broken_streams(self) -> None:
        """A stream that breaks off is never a clean end: the SDK raises while it is read."""
        for model, code in (
            ("cut-3", "stream_incomplete"),
            ("reset-3", "stream_incomplete"),
            ("nodone", "stream_incomplete"),
            ("badchunk-3", "stream_malformed"),
            ("errorevent-3", "mock_error"),
        ):
            stream = self.client.chat.completions.create(model=model, messages=say(), stream=True)
            error: Any = self.assertRaises(openai.APIError, list, stream)
            self.assertEqual(error.code, code)
        responses = self.client.responses.create(model="cut-3", input="hello", stream=True)
        error = self.assertRaises(openai.APIError, list, responses)
        self.assertEqual(error.code, "stream_incomplete")
        responses = self.client.responses.create(model="nodone", input="hello", stream=True)
        error = self.assertRaises(openai.APIError, list, responses)
        (row,) = self.rows(error.body["request_id"])
        self.assertEqual((row["status"], row["error_code"]), (502, "stream_incomplete"))
        self.assertGreater(row["output_tokens"], 10)

    def test_broken_before_its_first_event(self) -> None:
        """A stream that breaks before its first event is told by a real status."""
        error = self.check_refusal(lambda: self.chat("cut-0", stream=True), 502, "upstream_incomplete")
        self.check_row(error, 502, "upstream_incomplete")

    def test_sdk_gives_up(self) -> None:
        """When the SDK's own timeout strikes, the upstream call ends too, and has its row."""
        impatient = self.client.with_options(timeout=0.5, default_headers={"X-Request-Id": UUIDS[0]})
        self.assertRaises(openai.APITimeoutError, self.chat, "never", client=impatient)
        self.check_left(UUIDS[0], 499)

    def test_reader_leaves(self) -> None:
        """A stream that is closed half-read ends the upstream call, and its text is accounted."""
        stream = self.client.chat.completions.create(
            model="stall-5", messages=say(), stream=True, extra_headers={"X-Request-Id": UUIDS[1]}
        )
        for _ in range(4):
            next(stream)
        stream.close()
        self.check_left(UUIDS[1], 200)
        self.assertGreaterEqual(self.rows(UUIDS[1])[0]["output_tokens"], 3)

    def test_cancelled_task(self) -> None:
        """A cancelled asyncio task ends the upstream call in the same way."""

        async def work(client: openai.AsyncOpenAI) -> None:
            call = client.chat.completions.create(
                model="never", messages=say(), extra_headers={"X-Request-Id": UUIDS[2]}
            )
            task = asyncio.ensure_future(call)
            await asyncio.to_thread(wait_until, lambda: self.reached(UUIDS[2]), "the upstream to be called")
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(self.with_async(work))
        self.check_left(UUIDS[2], 499)

    def reached(self, request_id: str) -> bool:
        """Say whether the mock has a request."""
        return any(
            ["x-request-id", request_id] in one["headers"] for one in self.mock.get("/__mock/requests")
        )

    def check_left(self, request_id: str, status: int) -> None:
        """Check upstream call and row of a client that left."""
        wait_until(
            lambda: self.recorded(request_id)["outcome"] == "client_gone", "the upstream call to be ended"
        )
        (row,) = self.rows(request_id)
        self.assertEqual((row["status"], row["error_code"]), (status, "client_closed"))
        self.assertGreater(row["input_tokens"], 0)


UUIDS = [f"7b7c8d10-51f3-4a10-8000-00000000000{n}" for n in range(3)]


class BusyTests(ErrorCase):
    """A gateway that has no room, or is about to stop."""

    settings = {"upstream": {"max_connections_per_origin": 1, "max_queue": 0}}

    @classmethod
    def more_models(cls) -> list[dict[str, Any]]:
        """Give a model that holds its connection, too."""
        url = cls.mock.base_url
        held = custom_model("held", url, upstream_model="mock-fault-stall-5")
        return [*models(url), held]

    def draining(self) -> bool:
        """Say whether the gateway drains."""
        try:
            return request(self.gateway.port, "GET", "/readyz")[0] == 503
        except OSError:
            # Connected just before, it was closed as one that nobody uses.
            return False

    def test_no_room_and_drain(self) -> None:
        """With every connection taken, and while the gateway drains, calls are told to come back."""
        self.assertTrue(self.chat().choices)
        stream = self.client.chat.completions.create(model="held", messages=say(), stream=True)
        next(stream)
        with self.sdk(self.gateway.key) as other:
            error = self.check_refusal(lambda: self.chat(client=other), 503, "upstream_busy")
            self.assertEqual(error.response.headers["retry-after"], "1")
        busy = error
        self.gateway.signal(signal.SIGTERM)
        wait_until(self.draining, "the drain to begin")
        with self.sdk(self.gateway.key) as other:
            error = self.check_refusal(
                lambda: self.chat(client=other, model="demo"), 503, "service_unavailable"
            )
            self.assertEqual(error.response.headers["retry-after"], "5")
        stream.close()
        self.assertEqual(self.gateway.wait(), 0)
        self.check_row(busy, 503, "upstream_busy")
        self.check_row(error, 503, "service_unavailable")
