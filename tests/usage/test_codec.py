"""Journal lines."""

from __future__ import annotations

import google_crc32c
import ujson
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.usage.events import event, events
from voidllm.core.usage import UsageEvent
from voidllm.core.usage_line import LAYOUT
from voidllm.usage.codec import MAX_LINE, Damage, decode, decode_lines, encode


def sealed(body: bytes) -> bytes:
    """Give ``body`` as a line with the right checksum."""
    return b"%08x %b\n" % (google_crc32c.value(body), body)


def changed(more: tuple[object, ...] = (), **changes: object) -> bytes:
    """Give an event's line with values replaced and ``more`` behind the last; ``...`` ends it there."""
    found = ujson.loads(encode(event())[9:])
    places = {value.name: place for place, value in enumerate(LAYOUT, 1)}
    for name, value in changes.items():
        found[places[name] if name != "v" else 0] = value
    if ... in found:
        del found[found.index(...) :]
    return sealed(ujson.dumps([*found, *more]).encode())


class RoundTripTests(SynchronousTestCase):
    """What is written is read."""

    @settings(max_examples=60)
    @given(st.lists(events, max_size=4))
    def test_any_events(self, written: list[UsageEvent]) -> None:
        """Any text, lone surrogates included, and any integer come back as they were."""
        data = b"".join(map(encode, written))
        self.assertEqual(decode_lines(data), (written, len(data), []))
        self.assertTrue(data.isascii())
        self.assertEqual(data.count(b"\n"), len(written))

    def test_ends(self) -> None:
        """Each record tells where its line ends, so that progress can stand between any two."""
        lines = [encode(event(number)) for number in range(3)]
        ends = [record.end for record in decode(b"".join(lines)).records]
        self.assertEqual(ends, [len(b"".join(lines[: n + 1])) for n in range(3)])


class DamageTests(SynchronousTestCase):
    """Damage is seen, skipped and told."""

    @settings(max_examples=60)
    @given(st.lists(events, min_size=1, max_size=3), st.data())
    def test_truncated(self, written: list[UsageEvent], data: st.DataObject) -> None:
        """A cut at any place gives the events before it and leaves the torn tail."""
        lines = [encode(one) for one in written]
        whole = b"".join(lines)
        cut = data.draw(st.integers(0, len(whole)))
        found, consumed, problems = decode_lines(whole[:cut])
        self.assertEqual(found, written[: len(found)])
        self.assertEqual(consumed, len(b"".join(lines[: len(found)])))
        self.assertEqual(problems, [])

    @settings(max_examples=100)
    @given(st.lists(events, min_size=1, max_size=3), st.data())
    def test_flipped(self, written: list[UsageEvent], data: st.DataObject) -> None:
        """Up to three flipped bits never make an event that was not written."""
        whole = bytearray(b"".join(map(encode, written)))
        for place in data.draw(st.lists(st.integers(0, len(whole) * 8 - 1), min_size=1, max_size=3)):
            whole[place // 8] ^= 1 << place % 8
        found, _, _ = decode_lines(bytes(whole))
        for one in found:
            self.assertIn(one, written)

    @settings(max_examples=100)
    @given(st.binary(max_size=200))
    def test_noise(self, noise: bytes) -> None:
        """Noise gives no event and no exception, and a sound line behind it is still read."""
        found, _, _ = decode_lines(noise + b"\n" + encode(event()))
        self.assertEqual(found, [event()])

    def test_every_single_flip(self) -> None:
        """Each single flipped bit of the first of two lines is told, and costs at most both lines."""
        first, second = encode(event(1)), encode(event(2))
        for place in range(0, len(first) * 8, 7):
            whole = bytearray(first + second)
            whole[place // 8] ^= 1 << place % 8
            found, _, problems = decode_lines(bytes(whole))
            self.assertEqual(found, [event(2)])
            self.assertTrue(problems)

    def test_glued(self) -> None:
        """A line written behind one that stopped half-way is read, the half is told."""
        half = encode(event(1))[:100]
        line = encode(event(2))
        self.assertEqual(
            decode_lines(half + line), ([event(2)], 100 + len(line), [Damage(0, 100, "checksum")])
        )

    def test_endless_line(self) -> None:
        """Bytes without a newline that no writer could have made do not stop the reader for ever."""
        _, consumed, problems = decode_lines(b"x" * (MAX_LINE + 1))
        self.assertEqual(consumed, MAX_LINE + 1)
        self.assertEqual(len(problems), 1)


class EvolutionTests(SynchronousTestCase):
    """Lines of other versions of the program."""

    def test_unknown_members(self) -> None:
        """Values behind those that this version knows are ignored, whatever they are."""
        self.assertEqual(decode_lines(changed(more=({"a": 1}, None, 7)))[0], [event()])

    def test_missing_member(self) -> None:
        """A line from before the last fields existed gets their defaults."""
        self.assertEqual(decode_lines(changed(price_version=...))[0], [event(price_version="")])

    def test_other_version(self) -> None:
        """A line of another version is told, not guessed at."""
        line = changed(v=2)
        self.assertEqual(decode_lines(line), ([], len(line), [Damage(0, len(line), "version")]))

    def test_wrong_types(self) -> None:
        """Sound bytes with members of the wrong type are told, not believed."""
        for changes in (
            {"id": 1},
            {"id": None},
            {"id": ...},
            {"status": True},
            {"status": 200.0},
            {"stream": 1},
            {"status": ...},
            {"input_tokens": [1]},
            {"reasoning_tokens": 1.0},
            {"audio_output_tokens": None},
            {"cost_nano": "1"},
            {"team_id": 3},
        ):
            found, _, problems = decode_lines(changed(**changes))
            self.assertEqual((found, [p.reason for p in problems]), ([], ["format"]), changes)
        for body in (b"[]", b"[", b"{}", b"", b"1e999", b"\xff"):
            self.assertEqual([p.reason for p in decode_lines(sealed(body))[2]], ["format"], body)
