"""Tests for reading token usage out of replies."""

import json
import tracemalloc

import ujson
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.usage import TokenCounts
from voidllm.usage.metering import MalformedEvent, StreamMeter, meter_reply, tokens_from_usage

counts = st.integers(-5, 10**6)


class UsageObjectTests(SynchronousTestCase):
    """Every dialect's usage object becomes disjoint buckets."""

    def test_chat(self) -> None:
        """Cached, audio and reasoning tokens leave the bucket that they are a part of."""
        tokens = tokens_from_usage(
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 1},
            }
        )
        self.assertEqual(
            tokens,
            TokenCounts(input=65, cache_read=30, output=29, reasoning=20, audio_input=5, audio_output=1),
        )

    def test_responses_and_images(self) -> None:
        """The input and output spelling is understood."""
        tokens = tokens_from_usage(
            {"input_tokens": 7, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}
        )
        self.assertEqual(tokens, TokenCounts(input=5, cache_read=2, output=3))

    def test_transcription(self) -> None:
        """Audio input tokens are a bucket of their own; a duration is no token count."""
        self.assertEqual(
            tokens_from_usage(
                {"input_tokens": 9, "output_tokens": 2, "input_token_details": {"audio_tokens": 9}}
            ),
            TokenCounts(audio_input=9, output=2),
        )
        self.assertIsNone(tokens_from_usage({"type": "duration", "seconds": 3}))

    def test_embeddings(self) -> None:
        """Prompt tokens alone are enough, and so is a total alone."""
        self.assertEqual(tokens_from_usage({"prompt_tokens": 4, "total_tokens": 4}), TokenCounts(input=4))
        self.assertEqual(tokens_from_usage({"total_tokens": 4}), TokenCounts(input=4))

    @given(counts, counts, counts, counts, counts, counts)
    def test_buckets_add_up_to_what_the_provider_said(self, p, c, cached, audio, reasoning, spoken) -> None:
        """Whatever details a provider claims, no token is counted twice or below zero."""
        tokens = tokens_from_usage(
            {
                "prompt_tokens": p,
                "completion_tokens": c,
                "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio},
                "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": spoken},
            }
        )
        self.assertEqual(tokens.prompt, max(0, p))
        self.assertEqual(tokens.completion, max(0, c))
        self.assertGreaterEqual(min(tokens.input, tokens.output, tokens.cache_read, tokens.audio_input), 0)

    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
    def test_nonsense(self, value) -> None:
        """A usage field of any other shape is no usage, and never an error."""
        self.assertIsNone(tokens_from_usage(value))
        tokens_from_usage({"prompt_tokens": value, "prompt_tokens_details": value})


class AbsurdTests(SynchronousTestCase):
    """Counts that cannot be true are no counts."""

    def test_no_count_outgrows_the_books(self) -> None:
        """A provider that claims an impossible number is taken to have said nothing."""
        for size in (1 << 31, 1 << 53, 10**30):
            for usage in (
                {"prompt_tokens": size, "completion_tokens": 1},
                {"prompt_tokens": 1, "completion_tokens": size},
                {"input_tokens": 1, "output_tokens": size},
                {"total_tokens": size},
            ):
                self.assertIsNone(tokens_from_usage(usage))
                reply = {"choices": [{"message": {"content": "twelve bytes"}}], "usage": usage}
                metered = meter_reply(json.dumps(reply).encode(), 7)
                self.assertEqual((metered.source, metered.tokens.input), ("estimated", 7))

    def test_details_of_an_impossible_size_are_left_out(self) -> None:
        """A detail that cannot be true takes nothing out of its total."""
        usage = {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 1 << 53}}
        self.assertEqual(tokens_from_usage(usage), TokenCounts(input=10))


class BufferedTests(SynchronousTestCase):
    """A whole reply says what it used, or it is estimated."""

    def test_final(self) -> None:
        """Usage in the reply is the provider's final word."""
        metered = meter_reply(b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}', 99)
        self.assertEqual((metered.tokens.total, metered.source), (7, "provider_final"))

    def test_large_reply(self) -> None:
        """A large reply is read just as well."""
        body = ujson.dumps({"data": ["x" * 100_000], "usage": {"prompt_tokens": 3}}).encode()
        self.assertEqual(meter_reply(body, 99).tokens.total, 3)

    def test_enormous_replies_make_no_objects(self) -> None:
        """Millions of values are counted by their size; an enormous usage is none."""
        choices = b'{"choices":[' + b"{}," * 1_000_000 + b"{}]"
        small = b',"usage":{"prompt_tokens":3,"completion_tokens":4,"x":[]},"z":' + b"[]}"
        self.assertEqual(meter_reply(choices + small, 7).tokens, TokenCounts(input=3, output=4))
        tracemalloc.start()
        try:
            metered = meter_reply(choices + b"}", 7)
            self.assertLess(tracemalloc.get_traced_memory()[1], 16 << 20)
        finally:
            tracemalloc.stop()
        size = len(choices) - len(b'{"choices":')
        self.assertEqual(
            (metered.source, metered.tokens), ("estimated", TokenCounts(7, output=-(-size // 4)))
        )
        usage = b'{"text":"four","usage":{"prompt_tokens":[' + b"1," * 50_000 + b"1]}}"
        self.assertEqual(meter_reply(usage, 7).tokens, TokenCounts(input=7, output=1))

    def test_without_usage(self) -> None:
        """A reply that does not say is charged the prompt and the text that it holds."""
        body = b'{"choices":[{"message":{"content":"abcdefgh"}}]}'
        metered = meter_reply(body, 10)
        self.assertEqual((metered.tokens, metered.source), (TokenCounts(input=10, output=2), "estimated"))
        self.assertEqual(meter_reply(b"not json", 10).tokens, TokenCounts(input=10))


def delta(text: str) -> bytes:
    """Make the data of one chat event."""
    return ujson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode()


_NUMBER = st.one_of(
    st.integers(0, 50), st.integers(-3, 1 << 60), st.none(), st.booleans(), st.just("7"), st.just(1.5)
)
_DETAILS = st.one_of(
    st.none(),
    st.just([]),
    st.dictionaries(
        st.sampled_from(("cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens", "x")),
        _NUMBER,
    ),
)
_USAGES = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": _NUMBER,
        "completion_tokens": _NUMBER,
        "total_tokens": _NUMBER,
        "input_tokens": _NUMBER,
        "prompt_tokens_details": _DETAILS,
        "completion_tokens_details": _DETAILS,
    },
)


class ShortWayTests(SynchronousTestCase):
    """The usual reply is read a shorter way."""

    @given(_USAGES)
    def test_same_counts(self, usage: dict[str, object]) -> None:
        """Whatever the usage object holds, the counts are those of the long way."""
        metered = meter_reply(ujson.dumps({"choices": [], "usage": usage}).encode(), 9)
        self.assertEqual(metered.tokens, tokens_from_usage(usage) or TokenCounts(input=9))


_TEXT = st.one_of(st.none(), st.text(max_size=4), st.just(7), st.just([]))
_FUNCTION = st.one_of(st.none(), st.fixed_dictionaries({}, optional={"name": _TEXT, "arguments": _TEXT}))
_TOOL_CALLS = st.lists(
    st.one_of(st.none(), st.fixed_dictionaries({"index": st.just(0)}, optional={"function": _FUNCTION}))
)
_DELTA = st.fixed_dictionaries(
    {},
    optional={
        "role": _TEXT,
        "content": _TEXT,
        "reasoning_content": _TEXT,
        "refusal": _TEXT,
        "audio": _TEXT,
        "tool_calls": st.one_of(st.none(), _TOOL_CALLS),
    },
)
_CHOICE = st.one_of(
    st.none(), st.fixed_dictionaries({}, optional={"index": _NUMBER, "delta": _DELTA, "text": _TEXT})
)
_EVENT = st.fixed_dictionaries(
    {},
    optional={
        "id": _TEXT,
        "type": _TEXT,
        "delta": _TEXT,
        "choices": st.one_of(st.none(), st.lists(_CHOICE, max_size=2)),
        "usage": st.one_of(st.none(), _USAGES),
        "error": _TEXT,
    },
)


class ShortWayOfEventsTests(SynchronousTestCase):
    """The usual event is read a shorter way."""

    @settings(max_examples=300, deadline=None)
    @given(st.lists(_EVENT, max_size=4), st.booleans())
    def test_same_account(self, events: list[dict[str, object]], complete: bool) -> None:
        """Whatever the events hold, the account is that of the long way."""
        short, long = StreamMeter(), StreamMeter()
        for event in events:
            data = ujson.dumps(event).encode()
            long._chat = False
            self.assertEqual(short.watch(data), long.watch(data))
            seen = [(m.started, m.done, m.failed, m.result(complete, 9)) for m in (short, long)]
            self.assertEqual(seen[0], seen[1])

    def test_usual_events(self) -> None:
        """Text, tool calls and roles are usual in a chat; nothing is in a stream of another kind."""
        meter = StreamMeter()
        call = b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}'
        for data in (delta("a"), call, b'{"choices":[{"delta":{"role":"assistant"}}],"usage":null}'):
            self.assertTrue(meter.watch_text(data))
        for data in (b"[DONE]", b"{", b'{"choices":[],"usage":{}}', b'{"choices":[{"text":"a"}]}'):
            self.assertFalse(meter.watch_text(data))
        meter.watch(b'{"type":"response.output_text.delta","delta":"hi"}')
        self.assertFalse(meter.watch_text(delta("a")))


class StreamMeterTests(SynchronousTestCase):
    """A stream's meter knows what was delivered and how the stream ended."""

    def test_usage_chunk_is_recognised(self) -> None:
        """Only the event without choices is usage and nothing else."""
        meter = StreamMeter()
        self.assertFalse(meter.watch(delta("a")))
        self.assertTrue(meter.watch(b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}'))
        meter.watch(b"[DONE]")
        result = meter.result(True, 9)
        self.assertEqual((result.tokens.total, result.source), (6, "provider_final"))
        self.assertTrue(meter.done)

    def test_role_chunk_is_no_token(self) -> None:
        """The first event, which only names the role, does not start the clock of tokens."""
        meter = StreamMeter()
        meter.watch(b'{"choices":[{"delta":{"role":"assistant","content":""}}]}')
        self.assertFalse(meter.started)
        meter.watch(delta("a"))
        self.assertTrue(meter.started)

    def test_cut_stream_is_never_free(self) -> None:
        """Delivered text counts even if no usage ever came."""
        meter = StreamMeter()
        for text in ("abcd", "efgh", "ijklmnop"):
            meter.watch(delta(text))
        result = meter.result(False, 9)
        self.assertEqual((result.tokens, result.source), (TokenCounts(input=9, output=4), "estimated"))

    def test_partial_usage(self) -> None:
        """Usage that a provider reports on the way is used when the stream is cut."""
        meter = StreamMeter()
        meter.watch(
            b'{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}'
        )
        self.assertEqual(meter.result(False, 9).source, "provider_partial")

    def test_nothing_came(self) -> None:
        """An upstream that delivered nothing costs nothing, unless the client left it."""
        self.assertEqual(StreamMeter().result(False, 9).source, "none")
        left = StreamMeter().result(False, 9, client_left=True)
        self.assertEqual(left.tokens, TokenCounts(input=9))

    def test_responses_stream(self) -> None:
        """Typed events end in their own way and carry usage inside the response."""
        meter = StreamMeter()
        meter.watch(b'{"type":"response.output_text.delta","delta":"hi"}')
        self.assertTrue(meter.started)
        meter.watch(
            b'{"type":"response.completed","response":{"usage":{"input_tokens":2,"output_tokens":1}}}'
        )
        self.assertTrue(meter.done)
        self.assertEqual(meter.result(True, 9).tokens.total, 3)

    def test_tool_calls_and_reasoning_are_delivered_text(self) -> None:
        """Arguments of tool calls and reasoning text count like content."""
        meter = StreamMeter()
        meter.watch(b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}')
        meter.watch(b'{"choices":[{"delta":{"reasoning_content":"hm"}}]}')
        self.assertEqual(meter.result(False, 0).tokens.output, 2)

    def test_type_that_is_no_text(self) -> None:
        """An event with another kind of type is one of no known type."""
        meter = StreamMeter()
        meter.watch(b'{"type":["response.completed"]}')
        self.assertFalse(meter.done)

    def test_malformed(self) -> None:
        """Data that is not a JSON object is an error, because no client could read it."""
        for data in (b"{", b"[1]", b"", b"nonsense"):
            self.assertRaises(MalformedEvent, StreamMeter().watch, data)

    def test_error_event(self) -> None:
        """An error that the upstream reports inside the stream is noticed."""
        meter = StreamMeter()
        meter.watch(b'{"error":{"message":"x"}}')
        self.assertTrue(meter.failed)
