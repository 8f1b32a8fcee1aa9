"""Tests for the checks on request bodies."""

import json
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.errors import Refusal
from voidllm.proxy.body import parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class AcceptedTests(SynchronousTestCase):
    """What is accepted reaches the upstream as it was, but for the model's name."""

    def test_values_stay_byte_exact(self) -> None:
        """Numbers, escapes and spaces inside values are sent as they came."""
        raw = (
            b'{ "temperature" : 1E2, "x":1e400,\n"model":"a", '
            b'"u":"\\u00e9\\ud83d\\ude00", "o": { "b" : 1.50 } }'
        )
        out = parse(raw).encode("up", False)
        for part in (b"1E2", b"1e400", b'"\\u00e9\\ud83d\\ude00"', b'{ "b" : 1.50 }', b'"model":"up"'):
            self.assertIn(part, out)

    @settings(max_examples=200, deadline=None)
    @given(
        st.dictionaries(st.text(min_size=1).filter(lambda k: k.casefold() not in READ), json_values),
        st.booleans(),
    )
    def test_round_trip(self, extra, spaced) -> None:
        """Any JSON object with a model comes out with the same values."""
        value = {**extra, "model": "m"}
        text = json.dumps(value, separators=None if spaced else (",", ":"), ensure_ascii=spaced)
        out = json.loads(parse(text.encode()).encode("m", False))
        self.assertEqual(out, value)

    def test_usage_is_merged(self) -> None:
        """Other members of stream_options survive, and what the client asked is known."""
        body = parse(b'{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}')
        self.assertFalse(body.wants_usage)
        out = json.loads(body.encode("m", True))
        self.assertEqual(out["stream_options"], {"include_obfuscation": False, "include_usage": True})
        asked = parse(b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}')
        self.assertTrue(asked.wants_usage)

    def test_estimate(self) -> None:
        """The estimate is a quarter of the bytes plus the output limit for each choice."""
        raw = b'{"model":"m","max_tokens":50,"n":2}'
        self.assertEqual(parse(raw).estimated_tokens(), -(-len(raw) // 4) + 100)
        raw = b'{"model":"m"}'
        self.assertEqual(parse(raw).estimated_tokens(), -(-len(raw) // 4) + 1000)

    def test_no_field_hides_another_one(self) -> None:
        """Upstreams differ in which limit they heed, and some allow any number of choices."""
        for more, output in (
            ({"max_completion_tokens": 1, "max_tokens": 5000}, 5000),
            ({"max_tokens": 1, "max_output_tokens": 5000}, 5000),
            ({"max_tokens": 10, "n": 1000}, 10_000),
            ({"max_tokens": 10, "n": 1, "best_of": 20}, 200),
            ({"max_tokens": 10, "n": None}, 10),
            ({"max_tokens": 1 << 52, "n": 1 << 52}, 1 << 53),
        ):
            raw = json.dumps({"model": "m", **more}).encode()
            self.assertEqual(parse(raw).estimated_tokens(), -(-len(raw) // 4) + output)


READ = {"model", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "max_output_tokens"}

blanks = st.text(" \t\r\n", max_size=2)
names = st.sampled_from(["a", "b", "model", "\\u0061", "\\n", '\\"', "é", "", "x,y", "}"])
inner = st.sampled_from(
    ["1", "12", '"a"', '"}"', '","', '{"a":1,"a":2}', "[]", '[1, {"b":"\\""}]', "null", "1e5"]
)


class DuplicateTests(SynchronousTestCase):
    """Nothing is dropped by a parse without being noticed."""

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(blanks, names, blanks, blanks, inner, blanks), max_size=5), blanks)
    def test_every_duplicate_is_found(self, members, before) -> None:
        """However it is written, and whatever its values are, a name is found twice or it is not."""
        items = [f'{a}"{name}"{b}:{c}{value}{d}' for a, name, b, c, value, d in members]
        items.append('"model":"m"')
        raw = (before + "{" + ",".join(items) + "}" + before).encode()
        keys = [json.loads(f'"{name}"') for _, name, *_ in members] + ["model"]
        if len(set(keys)) == len(keys):
            self.assertEqual(parse(raw).model, "m")
        else:
            error = self.assertRaises(Refusal, parse, raw)
            self.assertEqual(error.code, "duplicate_field")

    def test_large_bodies_cost_no_objects(self) -> None:
        """Ten million values in an unusual spelling are not made into objects, nor are a million fields."""
        raw = b'{ "model":"m","x":[' + b"[]," * 3_000_000 + b"[]]}"
        tracemalloc.start()
        try:
            parse(raw)
            self.assertLess(tracemalloc.get_traced_memory()[1], 4 * len(raw))
        finally:
            tracemalloc.stop()
        fields = b",".join(b'"k%d":1' % number for number in range(1000))
        error = self.assertRaises(Refusal, parse, b'{"model":"m",' + fields + b"}")
        self.assertEqual(error.status, 400)


class RefusedTests(SynchronousTestCase):
    """What is refused is refused with the field's name and never its value."""

    def refused(self, raw: bytes, param: str | None) -> Refusal:
        """Assert that ``raw`` is refused with a 400 that names ``param``."""
        error = self.assertRaises(Refusal, lambda: parse(raw).estimated_tokens())
        self.assertEqual((error.status, error.param), (400, param))
        self.assertNotIn("canary", error.message)
        return error

    def test_not_an_object(self) -> None:
        """Anything but one JSON object is refused."""
        for raw in (b"", b"[]", b"null", b'"x"', b"{", b"{}x", b'{"model":"a",}', b'{"model":NaN}', b"\xff"):
            with self.subTest(raw=raw):
                self.assertRaises(Refusal, parse, raw)

    def test_model(self) -> None:
        """The model must be a string of sensible length."""
        for raw in (
            b"{}",
            b'{"model":1}',
            b'{"model":null}',
            b'{"model":""}',
            b'{"model":"%s"}' % (b"x" * 257),
        ):
            self.refused(raw, "model")

    def test_duplicates(self) -> None:
        """A second copy of any top-level field is refused, in whatever style it is written."""
        for raw in (
            b'{"model":"canary","model":"b"}',
            b'{"model": "canary", "model": "b"}',
            b'{ "model":"canary" , "model":"b"}',
            b'{"model":"a","mod\\u0065l":"canary"}',
        ):
            self.refused(raw, "model")
        self.refused(b'{"model":"a","x":1,"x":2}', None)

    def test_signs_of_a_form(self) -> None:
        """Names with signs that mean something to a format are names like any others, twice or once."""
        fields = b'"model": "m", "100%": 1, "%b": "%s", "%%": null'
        self.assertEqual(len(parse(b"{%b}" % fields).fields), 4)
        self.assertEqual(
            parse(b"{%b}" % fields).encode("m", False), b'{"model":"m","100%":1,"%b":"%s","%%":null}'
        )
        self.refused(b'{%b, "%%%%": 1}' % fields, None)

    def test_padding_does_not_hide_a_duplicate(self) -> None:
        """White space that makes the lengths agree does not make the bytes agree."""
        for pad in range(40):
            self.refused(b'{"model":"a",%s"model":"b"}' % (b" " * pad), "model")

    def test_letter_case(self) -> None:
        """A field that another parser might take for one that was checked is refused."""
        for key in ("Model", "MODEL", "\u017ftream", "STREAM", "Stream_Options"):
            raw = json.dumps({"model": "a", key: "canary"}).encode()
            self.refused(
                raw, {"m": "model"}.get(key[0].lower()) or ("stream_options" if "_" in key else "stream")
            )

    def test_nested_keys_are_free(self) -> None:
        """Only the top level is ours to judge."""
        parse(b'{"model":"a","metadata":{"Model":"x","a":1,"a":2}}')

    def test_encoding(self) -> None:
        """Invalid UTF-8 and lone surrogates are refused wherever they are."""
        for raw in (
            b'{"model":"a","x":"\xff"}',
            b'{"model":"a","x":"\xed\xa0\x80"}',
            b'{"model":"a","\xff":1}',
            b'{"model":"a","x":["\\ud800 and some more text"]}',
            b'\xef\xbb\xbf{"model":"a"}',
        ):
            self.refused(raw, None)

    def test_depth(self) -> None:
        """Nesting that overflows the parser is refused."""
        self.refused(b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None)

    def test_types(self) -> None:
        """Fields that are read must have their type."""
        self.refused(b'{"model":"a","stream":"true"}', "stream")
        self.refused(b'{"model":"a","stream":1}', "stream")
        self.refused(b'{"model":"a","stream_options":[]}', "stream_options")
        self.refused(
            b'{"model":"a","stream_options":{"include_usage":true,"include_usage":false}}', "stream_options"
        )
        self.refused(b'{"model":"a","stream_options":{"Include_Usage":true}}', "stream_options")
        self.refused(b'{"model":"a","max_tokens":"9"}', "max_tokens")
        self.refused(b'{"model":"a","max_tokens":-1}', "max_tokens")
        self.refused(b'{"model":"a","n":1.5}', "n")
