"""However an upstream frames its replies, OpenAI's SDK reads the same text out of them."""

from __future__ import annotations

from typing import Any

import openai

from tests.e2e.sdk import SDKCase, say
from tests.harness import custom_model

TEXT = "The quick brown fox jumps over a lazy dog while seven wizards brew strong coffee near"

#: Faults of the mock that are none: everything a server may do.
VARIANTS = (
    "crlf",
    "cr",
    "comments",
    "multiline",
    "crlf+comments+multiline+split-7",
    "split-3",
    "hugeline-2000000",
    "eof",
    "http10",
    "chunked",
    "chunked+split-5",
    "early-103",
    "early-100",
    "close",
    "closesilent",
    "keepalive-1",
    "bighead-8000",
    "disposition",
    "cookie",
    "reqid-upstream-id",
    "ratelimit",
)


class WireTests(SDKCase):
    """The shipped defaults."""

    @classmethod
    def more_models(cls) -> list[dict[str, Any]]:
        """Give a model for each variant."""
        faults = (*VARIANTS, "gzip", "extra", "bighead-200000")
        return [custom_model(f, cls.mock.base_url, upstream_model=f"mock-fault-{f}") for f in faults]

    def check(self, model: str) -> None:
        """Compare what is read, buffered and streamed, and what comes along."""
        create = self.client.chat.completions.with_raw_response.create
        raw = create(model=model, messages=say())
        self.assertEqual(raw.parse().choices[0].message.content, TEXT)
        streamed = create(model=model, messages=say(), stream=True)
        chunks = [chunk for chunk in streamed.parse() if getattr(chunk, "choices", None)]
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), TEXT)
        for reply in (raw, streamed):
            names = {
                name for name in reply.headers if name.startswith(("x-ratelimit", "set-cookie", "x-big"))
            }
            self.assertEqual(names, set())
            self.assertEqual(len(reply.headers["x-request-id"]), 36)
        (row,) = self.rows(streamed.headers["x-request-id"])
        self.assertEqual((row["status"], row["source"], row["output_tokens"]), (200, "provider_final", 16))

    def test_variants(self) -> None:
        """Line ends, comments, framings, interim replies: all give the same text, with exact usage."""
        for model in VARIANTS:
            try:
                self.check(model)
            except (AssertionError, openai.OpenAIError) as error:
                self.fail(f"{model}: {error!r}")

    def test_hints_of_a_success(self) -> None:
        """A success passes on its disposition and its hint on when to come back."""
        for model, name, value in (
            ("disposition", "content-disposition", 'attachment; filename="speech.mp3"'),
            ("ratelimit", "retry-after", "4"),
        ):
            reply = self.client.chat.completions.with_raw_response.create(model=model, messages=say())
            self.assertEqual(reply.headers[name], value)

    def test_bytes_behind_a_reply(self) -> None:
        """What an upstream sends behind its reply is never the answer to somebody else's request."""
        for _ in range(5):
            for model in ("extra", "crlf"):
                done = self.client.chat.completions.create(model=model, messages=say())
                self.assertEqual(done.choices[0].message.content, TEXT)

    def test_unreadable(self) -> None:
        """A reply in a coding that nobody asked for, or with an endless head, is an error, not garbage."""
        for model in ("gzip", "bighead-200000"):
            error: Any = self.assertRaises(
                openai.InternalServerError, self.client.chat.completions.create, model=model, messages=say()
            )
            self.assertEqual((error.status_code, error.code), (502, "upstream_malformed"))


class TreqWireTests(WireTests):
    """twisted.web in front, treq behind."""

    settings = {"server": {"front": "twisted"}, "upstream": {"engine": "treq"}}
