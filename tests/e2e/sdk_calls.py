"""Calls that every model must answer to OpenAI's SDK, whatever serves them.

A mix-in: the class that takes it says what the models are called and what can be expected.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from typing import TYPE_CHECKING, Any, ClassVar, Mapping

import openai
import pydantic
from openai.types.audio import Transcription

from tests.e2e.sdk import SDKCase, say

if TYPE_CHECKING:
    _Case = SDKCase
else:
    _Case = object

MIB = 1 << 20


class Step(pydantic.BaseModel):
    """An inner object of the structured answer."""

    explanation: str
    weight: float


class Recipe(pydantic.BaseModel):
    """A structured answer."""

    title: str
    minutes: int
    vegan: bool
    steps: list[Step]


WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TIME = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}


def tools() -> list[Any]:
    """Give two functions in the style of chat completions."""
    return [
        {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
        {"type": "function", "function": {"name": "get_time", "parameters": TIME}},
    ]


def several_mib(size: int = 5 * MIB + 17) -> bytes:
    """Give bytes of every value, with false delimiters among them; the same in every run."""
    noise = random.Random(7).randbytes(MIB)
    return (noise * (size // MIB + 1))[: size - 9] + b"\r\n--voidl"


class Calls(_Case):
    """The calls.

    :cvar named: for each kind of model its name at the gateway.
    :cvar opening: how its texts begin.
    """

    named: ClassVar[Mapping[str, str]]
    opening: ClassVar[str]

    def chat_args(self, text: str = "hello there", **more: Any) -> dict[str, Any]:
        """Give the arguments of a chat call."""
        return {"model": self.named["chat"], "messages": say(text), **more}

    # -- chat

    def test_chat(self) -> None:
        """A buffered chat completion is whole, counted, and has its request id."""
        done = self.client.chat.completions.create(**self.chat_args())
        self.assertTrue(done.choices[0].message.content.startswith(self.opening))
        self.assertEqual(done.choices[0].finish_reason, "stop")
        self.assertEqual(done.object, "chat.completion")
        self.assertEqual(done.usage.total_tokens, done.usage.prompt_tokens + done.usage.completion_tokens)
        self.assertEqual(len(done._request_id), 36)

    def test_chat_stream(self) -> None:
        """A streamed chat completion gives the text of the buffered one, piece by piece, without usage."""
        whole = self.client.chat.completions.create(**self.chat_args()).choices[0].message.content
        chunks = list(self.client.chat.completions.create(**self.chat_args(), stream=True))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks), whole)
        self.assertGreater(len(chunks), 5)
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
        self.assertEqual([c.usage for c in chunks], [None] * len(chunks))

    def raw_events(self, **more: Any) -> list[Any]:
        """Give the events of a chat stream as they are on the wire, without ``[DONE]``."""
        create = self.client.chat.completions.with_streaming_response.create
        # A few events are enough; the demo takes its time for a text, as a person reads.
        with create(**self.chat_args(tools=tools()), stream=True, **more) as reply:
            lines = [line for line in reply.iter_lines() if line.startswith("data: ")]
            self.assertEqual(reply.headers["content-type"], "text/event-stream; charset=utf-8")
        self.assertEqual(lines[-1], "data: [DONE]")
        return [json.loads(line[6:]) for line in lines[:-1]]

    def test_usage_chunk_not_asked_for(self) -> None:
        """Nobody who did not ask for the usage chunk sees one, nor an empty list of choices."""
        for options in ({}, {"stream_options": {"include_usage": False}}, {"stream_options": None}):
            for event in self.raw_events(**options):
                self.assertTrue(event["choices"])
                self.assertIsNone(event.get("usage"))

    def test_usage_chunk_asked_for(self) -> None:
        """Who asks for the usage chunk gets exactly one, as the last; other options stay."""
        events = self.raw_events(stream_options={"include_usage": True, "include_obfuscation": False})
        self.assertEqual([e["choices"] for e in events[-1:]], [[]])
        self.assertGreater(events[-1]["usage"]["completion_tokens"], 1)
        self.assertEqual(len([e for e in events if e.get("usage")]), 1)

    def test_stream_helper(self) -> None:
        """The SDK's stream helper puts the whole completion together, usage too."""
        with self.client.chat.completions.stream(
            **self.chat_args(), stream_options={"include_usage": True}
        ) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        self.assertLessEqual({"chunk", "content.delta", "content.done"}, kinds)
        self.assertTrue(final.choices[0].message.content.startswith(self.opening))
        self.assertGreater(final.usage.completion_tokens, 5)

    # -- tools

    def test_tools(self) -> None:
        """Two functions are called at once, and their results bring the conversation on."""
        args = self.chat_args(tools=tools())
        message = self.client.chat.completions.create(**args).choices[0].message
        self.assertEqual([c.function.name for c in message.tool_calls], ["get_weather", "get_time"])
        self.assertEqual(len({c.id for c in message.tool_calls}), 2)
        self.assertEqual(set(json.loads(message.tool_calls[0].function.arguments)), {"city", "days"})
        args["messages"] += [
            message.model_dump(exclude_none=True),
            *({"role": "tool", "tool_call_id": c.id, "content": "sunny"} for c in message.tool_calls),
        ]
        answer = self.client.chat.completions.create(**args).choices[0]
        self.assertEqual((answer.finish_reason, answer.message.tool_calls), ("stop", None))

    def test_tool_choice(self) -> None:
        """A function can be named, or parallel calls forbidden."""
        args = self.chat_args(tools=tools())
        one = self.client.chat.completions.create(**args, parallel_tool_calls=False)
        self.assertEqual(len(one.choices[0].message.tool_calls), 1)
        named = {"type": "function", "function": {"name": "get_time"}}
        chosen = self.client.chat.completions.create(**args, tool_choice=named)
        self.assertEqual([c.function.name for c in chosen.choices[0].message.tool_calls], ["get_time"])

    def test_streamed_tools(self) -> None:
        """Parallel function calls arrive in pieces that belong together by their index."""
        calls: dict[int, dict[str, str]] = {}
        finish = None
        for chunk in self.client.chat.completions.create(**self.chat_args(tools=tools()), stream=True):
            finish = chunk.choices[0].finish_reason or finish
            for call in chunk.choices[0].delta.tool_calls or ():
                known = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                known["id"] += call.id or ""
                known["name"] += call.function.name or ""
                known["arguments"] += call.function.arguments or ""
        self.assertEqual(finish, "tool_calls")
        self.assertEqual([calls[i]["name"] for i in sorted(calls)], ["get_weather", "get_time"])
        self.assertEqual(len({c["id"] for c in calls.values()}), 2)
        self.assertEqual(
            [set(json.loads(c["arguments"])) for c in calls.values()], [{"city", "days"}, {"zone"}]
        )

    # -- structured output

    def test_json_schema(self) -> None:
        """A JSON Schema reaches the model, and its answer fits, buffered and streamed."""
        form = {"type": "json_schema", "json_schema": {"name": "w", "strict": True, "schema": WEATHER}}
        args = self.chat_args(response_format=form)
        text = self.client.chat.completions.create(**args).choices[0].message.content
        self.assertEqual(set(json.loads(text)), {"city", "days"})
        chunks = self.client.chat.completions.create(**args, stream=True)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks), text)

    def test_parse(self) -> None:
        """The SDK's ``parse`` gives an object of the caller's class, nested and all."""
        done = self.client.chat.completions.parse(**self.chat_args(), response_format=Recipe)
        recipe = done.choices[0].message.parsed
        self.assertIsInstance(recipe, Recipe)
        self.assertIsInstance(recipe.steps[0], Step)

    def test_parse_tools(self) -> None:
        """The SDK's ``parse`` gives the arguments of function calls as objects, too."""
        done = self.client.chat.completions.parse(
            **self.chat_args(tools=[openai.pydantic_function_tool(Recipe)])
        )
        self.assertIsInstance(done.choices[0].message.tool_calls[0].function.parsed_arguments, Recipe)

    # -- other texts

    def test_embeddings(self) -> None:
        """Embeddings are the same as floats and in base64, which is what the SDK asks for by itself."""
        model = self.named["embed"]
        packed = self.client.embeddings.create(model=model, input=["one", "two"])
        plain = self.client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
        self.assertEqual(len(packed.data), 2)
        for one, other in zip(packed.data, plain.data, strict=True):
            self.assertEqual(len(one.embedding), len(other.embedding))
            for x, y in zip(one.embedding, other.embedding, strict=True):
                self.assertAlmostEqual(x, y, places=6)
        self.assertNotEqual(packed.data[0].embedding, packed.data[1].embedding)
        self.assertGreater(packed.usage.prompt_tokens, 0)
        tokens = self.client.embeddings.create(model=model, input=[1, 2, 3])
        self.assertEqual(len(tokens.data), 1)

    def test_responses(self) -> None:
        """The Responses API answers with text and usage."""
        done = self.client.responses.create(model=self.named["chat"], input="hello there")
        self.assertTrue(done.output_text.startswith(self.opening))
        self.assertEqual(done.status, "completed")
        self.assertGreater(done.usage.output_tokens, 5)

    def test_responses_stream(self) -> None:
        """The Responses API streams typed events that end in the whole response."""
        pieces, last = [], None
        for event in self.client.responses.create(model=self.named["chat"], input="hello", stream=True):
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
            last = event
        self.assertEqual(last.type, "response.completed")
        self.assertEqual("".join(pieces), last.response.output_text)
        self.assertGreater(len(pieces), 5)
        self.assertGreater(last.response.usage.output_tokens, 5)

    def test_responses_helpers(self) -> None:
        """The SDK's helpers for streams and structured output work on responses as well."""
        with self.client.responses.stream(model=self.named["chat"], input="hello") as stream:
            for _ in stream:
                pass
            self.assertTrue(stream.get_final_response().output_text.startswith(self.opening))
        parsed = self.client.responses.parse(model=self.named["chat"], input="hello", text_format=Recipe)
        self.assertIsInstance(parsed.output_parsed, Recipe)

    def test_responses_tools(self) -> None:
        """Function calls of the Responses API, buffered and streamed, carry the same arguments."""
        args: dict[str, Any] = {
            "model": self.named["chat"],
            "input": "hello",
            "tools": [
                {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True},
                {"type": "function", "name": "get_time", "parameters": TIME, "strict": False},
            ],
        }
        buffered = self.client.responses.create(**args).output
        self.assertEqual([(i.type, i.name) for i in buffered], [
            ("function_call", "get_weather"),
            ("function_call", "get_time"),
        ])  # fmt: skip
        done = [
            event.arguments
            for event in self.client.responses.create(**args, stream=True)
            if event.type == "response.function_call_arguments.done"
        ]
        self.assertEqual(done, [item.arguments for item in buffered])

    def test_completions(self) -> None:
        """Legacy completions work, buffered and streamed."""
        whole = self.client.completions.create(model=self.named["chat"], prompt="hello there")
        self.assertTrue(whole.choices[0].text.startswith(self.opening))
        chunks = list(
            self.client.completions.create(model=self.named["chat"], prompt="hello there", stream=True)
        )
        self.assertEqual("".join(c.choices[0].text for c in chunks), whole.choices[0].text)
        self.assertEqual([c.usage for c in chunks], [None] * len(chunks))
        options = {"include_usage": True}
        *_, last = self.client.completions.create(
            model=self.named["chat"], prompt="hello there", stream=True, stream_options=options
        )
        self.assertEqual(last.usage.completion_tokens, whole.usage.completion_tokens)

    def test_moderations(self) -> None:
        """Each text is judged."""
        judged = self.client.moderations.create(model=self.named["judge"], input=["a", "b"])
        self.assertEqual([r.flagged for r in judged.results], [False, False])
        self.assertFalse(judged.results[0].categories.violence)

    # -- images and audio

    def test_images(self) -> None:
        """Images are made, edited and varied."""
        image = ("cat.png", b"\x89PNG\r\n\x1a\n" + bytes(5000), "image/png")
        model = self.named["paint"]
        for made in (
            self.client.images.generate(model=model, prompt="a cat"),
            self.client.images.edit(model=model, prompt="a hat", image=image),
            self.client.images.edit(model=model, prompt="a hat", image=[image, image], mask=image),
            self.client.images.create_variation(model=model, image=image),
        ):
            self.assertTrue(made.data[0].b64_json)

    def test_image_stream(self) -> None:
        """A streamed image ends in the completed one with its usage, and is no error for lack of [DONE]."""
        args: dict[str, Any] = {"model": self.named["paint"], "prompt": "a cat", "stream": True}
        kinds = [e.type for e in self.client.images.generate(**args, partial_images=1)]
        self.assertEqual(kinds[-1], "image_generation.completed")
        image = ("cat.png", b"\x89PNG\r\n\x1a\n" + bytes(5000), "image/png")
        kinds = [e.type for e in self.client.images.edit(**args, image=image)]
        self.assertEqual(kinds[-1], "image_edit.completed")

    def test_speech(self) -> None:
        """Speech comes as bytes that can be read as they arrive."""
        args: dict[str, Any] = {"model": self.named["speak"], "voice": "alloy", "input": "hello there"}
        whole = self.client.audio.speech.create(**args, response_format="wav")
        self.assertEqual(whole.response.headers["content-type"], "audio/wav")
        self.assertGreater(len(whole.content), 800)
        with self.client.audio.speech.with_streaming_response.create(**args, response_format="wav") as reply:
            self.assertEqual(b"".join(reply.iter_bytes(256)), whole.content)

    def check_heard(self, text: str, content: bytes) -> None:
        """Look at what a transcription says about its file; only the mock knows its content."""

    def test_transcriptions(self) -> None:
        """A file of several MB arrives whole, and each format of the answer is what the SDK expects."""
        content = several_mib()
        for create in (self.client.audio.transcriptions.create, self.client.audio.translations.create):
            args: dict[str, Any] = {
                "model": self.named["listen"],
                "file": ("talk.wav", content, "audio/wav"),
            }
            self.check_heard(create(**args).text, content)
            self.check_heard(create(**args, response_format="text"), content)
            verbose = create(**args, response_format="verbose_json")
            self.check_heard(verbose.text, content)
            self.assertEqual(verbose.language, "english")

    def test_model_after_the_file(self) -> None:
        """The file arrives whole when its model is only named behind it."""
        content = several_mib()
        heard = self.client.post(
            "/audio/transcriptions",
            cast_to=Transcription,
            files=[
                ("file", ("talk.wav", content, "audio/wav")),
                ("model", (None, self.named["listen"].encode())),
            ],
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )
        self.check_heard(heard.text, content)

    def test_streamed_transcription(self) -> None:
        """A transcription can be streamed, and ends in its whole text."""
        content = several_mib(200_000)
        *_, last = self.client.audio.transcriptions.create(
            model=self.named["listen"], file=("talk.wav", content, "audio/wav"), stream=True
        )
        self.assertEqual(last.type, "transcript.text.done")
        self.check_heard(last.text, content)

    # -- models

    def test_models(self) -> None:
        """Models are listed and found one by one, without anything of their upstreams."""
        listed = {model.id for model in self.client.models.list()}
        self.assertLessEqual(set(self.named.values()), listed)
        one = self.client.models.retrieve(self.named["chat"])
        self.assertEqual((one.id, one.object, one.owned_by), (self.named["chat"], "model", "voidllm"))

    # -- the asynchronous client

    def test_async(self) -> None:
        """The asynchronous client does it all at the same time on a few connections."""

        async def text(client: openai.AsyncOpenAI) -> str:
            done = await client.chat.completions.create(**self.chat_args())
            return str(done.choices[0].message.content)

        async def streamed(client: openai.AsyncOpenAI) -> str:
            stream = await client.chat.completions.create(**self.chat_args(), stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        async def response(client: openai.AsyncOpenAI) -> str:
            return (await client.responses.create(model=self.named["chat"], input="hello there")).output_text

        async def response_stream(client: openai.AsyncOpenAI) -> str:
            stream = await client.responses.create(model=self.named["chat"], input="hello there", stream=True)
            return "".join([e.delta async for e in stream if e.type == "response.output_text.delta"])

        async def embedded(client: openai.AsyncOpenAI) -> str:
            done = await client.embeddings.create(model=self.named["embed"], input=["one", "two"])
            return self.opening * (len(done.data) == 2)

        async def parsed(client: openai.AsyncOpenAI) -> str:
            done = await client.chat.completions.parse(**self.chat_args(), response_format=Recipe)
            return self.opening * isinstance(done.choices[0].message.parsed, Recipe)

        async def spoken(client: openai.AsyncOpenAI) -> str:
            args: dict[str, Any] = {"model": self.named["speak"], "voice": "alloy", "input": "hello"}
            async with client.audio.speech.with_streaming_response.create(**args) as reply:
                return self.opening * (len([piece async for piece in reply.iter_bytes()]) > 0)

        async def heard(client: openai.AsyncOpenAI) -> str:
            content = several_mib(300_000)
            done = await client.audio.transcriptions.create(
                model=self.named["listen"], file=("talk.wav", content, "audio/wav")
            )
            self.check_heard(done.text, content)
            return self.opening

        async def everything(client: openai.AsyncOpenAI) -> list[str]:
            kinds = (text, streamed, response, response_stream, embedded, parsed, spoken, heard)
            return await asyncio.gather(*(kind(client) for kind in kinds * 4))

        for answer in asyncio.run(self.with_async(everything)):
            self.assertTrue(answer.startswith(self.opening))


class MockCalls(Calls):
    """The calls on models that the mock upstream serves: what it says must be exactly so."""

    named = {
        "chat": "chat",
        "embed": "embed",
        "paint": "paint",
        "speak": "speak",
        "listen": "listen",
        "judge": "judge",
    }
    opening = "The quick"

    def check_heard(self, text: str, content: bytes) -> None:
        """The mock tells size and digest of the file that it got."""
        self.assertEqual(text.strip(), f"size={len(content)} sha256={hashlib.sha256(content).hexdigest()}")
