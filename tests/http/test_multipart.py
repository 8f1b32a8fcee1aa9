"""Multipart bodies: split anywhere, rewritten exactly, refused when ambiguous."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voidllm.core.errors import Refusal
from voidllm.http.multipart import End, MultipartLimits, MultipartScanner, PartData, PartEnd, PartStart
from voidllm.http.multipart_forward import MultipartForwarder, fresh_boundary
from voidllm.http.part_headers import PartHead, parse_boundary, parse_part_head

Part = tuple[str, "str | None", bytes]


def build(parts: list[Part], boundary: bytes = b"XX") -> bytes:
    """Write a multipart body as browsers do."""
    out = b""
    for name, filename, content in parts:
        kind = None if filename is None else b"application/octet-stream"
        out += b"--" + boundary + b"\r\n" + PartHead(name, filename, kind).encode() + content + b"\r\n"
    return out + b"--" + boundary + b"--\r\n"


def flat(events: list[Any]) -> list[Any]:
    """Join neighbouring data events."""
    result: list[Any] = []
    for event in events:
        if isinstance(event, PartData) and result and isinstance(result[-1], PartData):
            result[-1] = PartData(result[-1].data + event.data)
        else:
            result.append(event)
    return result


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut data into pieces of the given sizes, over and over."""
    pieces, position, index = [], 0, 0
    while position < len(data):
        size = sizes[index % len(sizes)]
        pieces.append(data[position : position + size])
        position += size
        index += 1
    return pieces


def read_parts(content_type: bytes, body: bytes) -> list[tuple[str, str | None, bytes]]:
    """Read a multipart body with the standard library."""
    message = message_from_bytes(b"Content-Type: " + content_type + b"\r\n\r\n" + body, policy=HTTP)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()  # type: ignore[attr-defined]
    ]


CONTENT = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from([b"\r", b"\n", b"-", b"\r\n", b"--", b"\r\n--", b"\r\n--X", b"X", b"a"]), max_size=12
    ).map(b"".join),
).filter(lambda content: b"\r\n--XX" not in b"\r\n" + content + b"\r\n")
NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters='"\\\x7f'), min_size=1, max_size=8
)
PARTS = st.lists(st.tuples(NAMES, st.none() | NAMES, CONTENT), max_size=4)


class Splitting(SynchronousTestCase):
    """The scanner under every segmentation."""

    @settings(max_examples=150)
    @given(PARTS, st.lists(st.integers(1, 7), min_size=1, max_size=5))
    def test_any_split(self, parts: list[Part], sizes: list[int]) -> None:
        """However the input is cut, the events are the same."""
        body = build(parts)
        whole = flat(MultipartScanner(b"XX").feed(body))
        scanner = MultipartScanner(b"XX")
        events: list[Any] = []
        for piece in cut(body, sizes):
            events.extend(scanner.feed(piece))
        assert flat(events) == whole
        assert scanner.done
        scanner.close()

    @settings(max_examples=100)
    @given(PARTS)
    def test_round_trip(self, parts: list[Part]) -> None:
        """What was written is what is read."""
        read: list[Any] = []
        for event in flat(MultipartScanner(b"XX").feed(build(parts))):
            if isinstance(event, PartStart):
                read.append([event.head.name, event.head.filename, b""])
            elif isinstance(event, PartData):
                read[-1][2] = event.data
            else:
                assert isinstance(event, PartEnd | End)
        assert [tuple(part) for part in read] == parts

    @settings(max_examples=100)
    @given(st.binary(max_size=200), st.integers(1, 9))
    def test_garbage(self, data: bytes, size: int) -> None:
        """Arbitrary bytes are read or refused, never anything else."""
        scanner = MultipartScanner(b"XX")
        try:
            for piece in cut(b"--XX\r\n" + data, [size]):
                scanner.feed(piece)
            scanner.close()
        except Refusal as refusal:
            assert refusal.status == 400

    def test_content_is_not_held(self) -> None:
        """Of a large file only what may begin a delimiter is held back."""
        scanner = MultipartScanner(b"XX")
        scanner.feed(b"--XX\r\n" + PartHead("file", "f").encode())
        events = scanner.feed(b"a" * 100_000 + b"\r\n--X")
        assert sum(len(event.data) for event in events if isinstance(event, PartData)) == 100_000


class Refused(SynchronousTestCase):
    """Bodies that two readers could read differently."""

    def refuse(self, body: bytes, **limits: int) -> Refusal:
        """Feed a body and give its refusal."""
        forwarder = MultipartForwarder(b"XX", b"OWN", MultipartLimits(**limits))

        def run() -> None:
            forwarder.feed(body)
            forwarder.close()

        refusal = self.assertRaises(Refusal, run)
        assert refusal.status == 400
        return refusal

    def test_fields(self) -> None:
        """Doubled, disguised, oversized, missing and undecodable fields are named."""
        model: Part = ("model", None, b"m")
        for parts, param in [
            ([model, model], "model"),
            ([("Model", None, b"m")], "model"),
            ([(" model", None, b"m")], "model"),
            ([("model", "file", b"m")], "model"),
            ([("model", None, b"m" * 1025)], "model"),
            ([("model", None, b"\xff")], "model"),
            ([("model", None, b"")], "model"),
            ([("file", "f", b"x")], "model"),
            ([], "model"),
            ([model, ("stream", None, b"true"), ("stream", None, b"false")], "stream"),
            ([model, ("STREAM", None, b"true")], "stream"),
            ([model, ("stream", None, b"perhaps")], "stream"),
        ]:
            assert self.refuse(build(parts)).param == param, parts

    def test_framing(self) -> None:
        """A preamble, padding, false delimiters and truncation are refused."""
        good = build([("model", None, b"m")])
        for body in [
            b"preamble\r\n" + good,
            good.replace(b"--XX\r\n", b"--XX \r\n"),
            good.replace(b"--XX\r\n", b"--XXY\r\n"),
            good.replace(b"--XX--", b"--XX-"),
            good.replace(b"\r\n", b"\n"),
            good[:-5],
            good[:20],
            b"",
        ]:
            self.refuse(body)

    def test_limits(self) -> None:
        """Too many parts and too large part headers are refused."""
        self.refuse(build([(f"a{n}", None, b"") for n in range(65)]))
        self.refuse(b'--XX\r\nContent-Disposition: form-data; name="a"\r\nX: ' + b"y" * 9000 + b"\r\n\r\n")
        self.refuse(b"--XX\r\n" + b"y" * 9000)

    def test_part_heads(self) -> None:
        """Ambiguous part headers are refused."""
        for raw in [
            b"",
            b"X: y",
            b"Content-Disposition: attachment; name=a",
            b"Content-Disposition: form-data",
            b'Content-Disposition: form-data; name="a"; name="b"',
            b'Content-Disposition: form-data; name="a"; NAME="b"',
            b"Content-Disposition: form-data; name=\"a\"; name*=utf-8''b",
            b'Content-Disposition: form-data; name="a"; filename="x"; filename="y"',
            b'Content-Disposition: form-data; name="a',
            b'Content-Disposition: form-data; name="a"b',
            b'Content-Disposition: form-data; name="a",name="b"',
            b'Content-Disposition: form-data; name="\xff"',
            b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="b"',
            b'Content-Disposition: form-data; name="a"\r\n ; name="b"',
            b'Content-Disposition : form-data; name="a"',
            b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64',
            b'Content-Disposition: form-data; name="a\x00"',
            b'Content-Disposition: form-data; name="a\nb"',
            b"Content-Disposition: form-data; name=\"a\"; filename*=latin1''b",
        ]:
            refusal = self.assertRaises(Refusal, parse_part_head, raw)
            assert refusal.status == 400, raw

    def test_boundary(self) -> None:
        """The boundary is found in both spellings, and refused when missing or doubtful."""
        assert parse_boundary(b"multipart/form-data; boundary=abc") == b"abc"
        assert parse_boundary(b'Multipart/Form-Data ; charset=utf-8; Boundary="a b:c"') == b"a b:c"
        for value in [
            None,
            b"application/json",
            b"multipart/form-data",
            b"multipart/mixed; boundary=a",
            b"multipart/form-data; boundary=",
            b"multipart/form-data; boundary=a; boundary=b",
            b"multipart/form-data; boundary=" + b"a" * 71,
            b'multipart/form-data; boundary="a\x01"',
            b'multipart/form-data; boundary="a "',
        ]:
            assert self.assertRaises(Refusal, parse_boundary, value).param == "content-type"


class Forwarding(SynchronousTestCase):
    """What goes to the upstream."""

    def forward(self, parts: list[Part], size: int) -> tuple[MultipartForwarder, list[Any]]:
        """Forward parts, cut into pieces, and read the result with another reader."""
        forwarder = MultipartForwarder(b"XX", fresh_boundary(lambda count: b"\x07" * count))
        body = b"".join(forwarder.feed(piece) for piece in cut(build(parts), [size]))
        forwarder.close()
        assert forwarder.done
        return forwarder, read_parts(forwarder.content_type, forwarder.model_part("up/stream") + body)

    def test_any_position(self) -> None:
        """Wherever the model is, it is replaced and every other part arrives unchanged."""
        file: Part = ("file", "speech.mp3", bytes(range(256)) * 20)
        other: Part = ("language", None, b"de")
        for position in range(3):
            parts = [file, other]
            parts.insert(position, ("model", None, b"whisper"))
            for size in (1, 7, 100_000):
                forwarder, sent = self.forward(parts, size)
                assert forwarder.model == "whisper"
                assert sent == [("model", None, b"up/stream"), file, other]

    def test_stream(self) -> None:
        """The stream field is read and passed on."""
        forwarder, sent = self.forward([("model", None, b"m"), ("stream", None, b"true")], 3)
        assert forwarder.stream
        assert ("stream", None, b"true") in sent

    def test_names_are_written_anew(self) -> None:
        """Quotes and backslashes of a file name are escaped as browsers do; UTF-8 is kept."""
        kind = "\r\nContent-Type: audio/wav"
        raw = 'Content-Disposition: form-data; name=file; filename="a\\"b\\\\c ü.wav"' + kind
        head = parse_part_head(raw.encode())
        assert head == PartHead("file", 'a"b\\c ü.wav', b"audio/wav")
        expected = 'Content-Disposition: form-data; name="file"; filename="a%22b%5Cc ü.wav"'
        assert head.encode().startswith(expected.encode() + b"\r\n")
        extended = b"Content-Disposition: form-data; name=\"file\"; filename*=utf-8''a%22%c3%bc"
        assert parse_part_head(extended).filename == 'a"ü'
        self.assertRaises(Refusal, parse_part_head, extended + b"%0d%0aX:%20y")
