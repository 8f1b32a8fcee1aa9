"""What OpenAI's SDK was told it used is what ``voidllm usage`` says, to the token and the nano-USD."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from decimal import Decimal
from typing import Any, ClassVar

import openai
from attrs import define

from tests.e2e.sdk import MODELS, SDKCase, nano, say
from tests.e2e.sdk_calls import several_mib, tools

PNG = ("cat.png", b"\x89PNG\r\n\x1a\n" + bytes(3000), "image/png")


@define
class Sum:
    """What is expected of one row of the report."""

    requests: int = 0
    prompt: int = 0
    completion: int = 0
    cost_nano: int = 0


class Bill:
    """Adds up what the SDK was told, by model and status."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str], Sum] = defaultdict(Sum)

    def add(self, model: str, usage: Any, status: int = 200) -> None:
        """Add one call; ``usage`` as the SDK gave it, ``None`` for none."""
        total = self.sums[model, str(status)]
        total.requests += 1
        if usage is None:
            return
        chat = hasattr(usage, "prompt_tokens")
        prompt = usage.prompt_tokens if chat else usage.input_tokens
        completion = getattr(usage, "completion_tokens" if chat else "output_tokens", 0)
        read = getattr(usage, "prompt_tokens_details" if chat else "input_tokens_details", None)
        wrote = getattr(usage, "completion_tokens_details" if chat else "output_tokens_details", None)
        total.prompt += prompt
        total.completion += completion
        if model != "demo":
            cached = getattr(read, "cached_tokens", None) or 0
            reasoning = getattr(wrote, "reasoning_tokens", None) or 0
            total.cost_nano += nano(prompt, completion, cached, reasoning)


class BillCase(SDKCase):
    """Makes calls, keeps a bill, and compares it with the gateway's."""

    def setUp(self) -> None:
        """Begin with an empty bill."""
        super().setUp()
        self.bill = Bill()

    def check_bill(self) -> None:
        """Compare with ``voidllm usage``; nothing else may be there."""
        reported = {}
        for row in self.gateway.usage("model,status"):
            reported[row["model"], row["status"]] = Sum(
                row["total_requests"], row["prompt_tokens"], row["completion_tokens"], row["cost_nano"]
            )
            self.assertIsInstance(row["cost"], str)
            self.assertEqual(Decimal(row["cost"]) * 10**9, row["cost_nano"])
        self.assertEqual(reported, dict(self.bill.sums))

    def stream(self, model: str, asked: bool, **more: Any) -> Any:
        """Stream a chat; gives the usage that the SDK was told, if asked for."""
        options: Any = {"include_usage": True} if asked else openai.omit
        chunks = list(
            self.client.chat.completions.create(
                model=model, messages=say(), stream=True, stream_options=options, **more
            )
        )
        return chunks[-1].usage


class ExactTests(BillCase):
    """Every call for which the upstream tells its counts."""

    def chats(self, model: str) -> None:
        """Make chat calls in every way: what is not told is known from a twin that is."""
        create, add = self.client.chat.completions.create, self.bill.add
        add(model, create(model=model, messages=say()).usage)
        add(model, create(model=model, messages=say(), tools=tools()).usage)
        # The demo takes its time for a text, as a person reads.
        for more in ({"tools": tools()},) if model == "demo" else ({}, {"tools": tools()}, {"n": 2}):
            told = self.stream(model, True, **more)
            add(model, told)
            self.assertIsNone(self.stream(model, False, **more))
            add(model, told)

    def test_bill(self) -> None:
        """Counts, tokens and cost of many different calls are exactly what the SDK was told."""
        client, add = self.client, self.bill.add
        for model in ("chat", "thinker", "usage-everywhere", "demo"):
            if model == "usage-everywhere":
                done = client.chat.completions.create(model=model, messages=say()).usage
                add(model, done)
                self.stream(model, False)
                add(model, done)
                continue
            self.chats(model)
            add(model, client.responses.create(model=model, input="hello there").usage)
            *_, last = client.responses.create(model=model, input="hello there", stream=True)
            add(model, last.response.usage)
            told = client.completions.create(model=model, prompt="hello there").usage
            add(model, told)
            list(client.completions.create(model=model, prompt="hello there", stream=True))
            add(model, told)
        add("chat", client.chat.completions.create(model="vendor/chat", messages=say()).usage)
        for model in ("embed", "demo"):
            add(model, client.embeddings.create(model=model, input=["one", "two two"]).usage)
        for model in ("paint", "demo"):
            add(model, client.images.generate(model=model, prompt="a cat").usage)
            *_, last = client.images.generate(model=model, prompt="a cat", stream=True)
            add(model, last.usage)
            add(model, client.images.edit(model=model, prompt="a cat", image=PNG).usage)
        for model in ("listen", "demo"):
            upload = ("a.wav", several_mib(100_000), "audio/wav")
            add(model, client.audio.transcriptions.create(model=model, file=upload).usage)
            *_, last = client.audio.transcriptions.create(model=model, file=upload, stream=True)
            add(model, last.usage)
        self.fail_in_every_way()
        self.at_once()
        self.check_bill()

    def fail_in_every_way(self) -> None:
        """Failed and refused calls have rows without tokens; unknown models no name."""
        client, add = self.client, self.bill.add
        for fault, status in (("status-500", 500), ("status-429", 429), ("badhead", 502)):
            self.rule(fault, model="mock-model")
            self.assertRaises(
                openai.APIStatusError, client.chat.completions.create, model="chat", messages=say()
            )
            add("chat", None, status)
        for name, status in (("nonesuch", 404), ("", 400)):
            self.assertRaises(
                openai.APIStatusError, client.chat.completions.create, model=name, messages=say()
            )
            add("", None, status)

    def at_once(self) -> None:
        """Make many calls at the same time."""

        async def work(client: openai.AsyncOpenAI) -> list[Any]:
            calls = [client.chat.completions.create(model="chat", messages=say(f"n {i}")) for i in range(40)]
            return await asyncio.gather(*calls)

        for done in asyncio.run(self.with_async(work)):
            self.bill.add("chat", done.usage)


class ExactOnOtherPartsTests(ExactTests):
    """The same with twisted.web in front and treq behind."""

    settings: ClassVar[Any] = {"server": {"front": "twisted"}, "upstream": {"engine": "treq"}}


class EstimateTests(SDKCase):
    """Calls whose counts nobody tells."""

    def source(self, request_id: str | None) -> tuple[str, int, int]:
        """Give source and tokens of a row."""
        (row,) = self.rows(request_id)
        self.assertEqual(row["cost_nano"], nano(row["input_tokens"], row["output_tokens"]))
        return row["source"], row["input_tokens"], row["output_tokens"]

    def test_delivered_text(self) -> None:
        """Text that was delivered counts as about what it is, however it was asked for."""
        chat, model = self.client.chat.completions.with_raw_response, "usage-nowhere"
        respond = self.client.responses.with_raw_response
        complete = self.client.completions.with_raw_response
        form = {"type": "json_schema", "json_schema": {"name": "w", "schema": {"type": "string"}}}
        self.assertIn(model, MODELS)
        for create, args in (
            (chat.create, {"messages": say()}),
            (chat.create, {"messages": say(), "tools": tools()}),
            (chat.create, {"messages": say(), "response_format": form}),
            (chat.create, {"messages": say("echo:" + "x" * 100_000)}),
            (complete.create, {"prompt": "hello there"}),
            (respond.create, {"input": "hello there"}),
            (
                respond.create,
                {
                    "input": "hello",
                    "tools": [{"type": "function", "name": "f", "parameters": {"type": "string"}}],
                },
            ),
        ):
            counted = []
            for stream in (False, True):
                raw = create(model=model, stream=stream, **args)
                if stream:
                    list(raw.parse())
                source, read, written = self.source(raw.headers["x-request-id"])
                self.assertEqual(source, "estimated")
                self.assertGreater(read, 5)
                self.assertGreaterEqual(written, 10, f"{sorted(args)} stream={stream}")
                counted.append(written)
            self.assertLess(max(counted), 3 * min(counted) + 10, f"{sorted(args)} {counted}")

    def test_transcribed_text(self) -> None:
        """The text of a transcription counts, in each of its formats."""
        for form in ("json", "verbose_json", "text"):
            raw = self.client.audio.transcriptions.with_raw_response.create(
                model="usage-nowhere", file=("a.wav", b"x" * 5000, "audio/wav"), response_format=form
            )
            source, _, written = self.source(raw.headers["x-request-id"])
            self.assertEqual(source, "estimated")
            self.assertGreaterEqual(written, 15, form)

    def test_what_has_no_tokens(self) -> None:
        """Speech, moderation and images without counts are charged for what was asked."""
        client = self.client.with_raw_response
        for raw in (
            client.audio.speech.create(model="speak", voice="alloy", input="hello there"),
            client.moderations.create(model="judge", input="hello there"),
            client.images.generate(model="usage-nowhere", prompt="a cat"),
            client.embeddings.create(model="usage-nowhere", input=["hello"] * 2000),
        ):
            source, read, written = self.source(raw.headers["x-request-id"])
            self.assertEqual((source, written), ("estimated", 0))
            self.assertGreater(read, 5)
