"""Images and audio; uploads are hashed as they stream in and never held."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from attrs import define, field
from multipart import MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

from bench.mocks.faults import Faults
from bench.mocks.reply import Event, Reply, dump, error_reply, json_reply, stream_reply
from bench.mocks.text import CREATED, pieces, tokens

_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\nmock image").decode()


@define
class FilePart:
    """One uploaded file: what it was, not what it held."""

    name: str
    filename: str
    content_type: str
    size: int = 0
    sha256: str = ""


@define
class Form:
    """A multipart body, read incrementally.

    :ivar fields: (name, text) of the parts without file name, in order.
    :ivar files: the parts with one.
    :ivar order: names of all parts as they came.
    """

    boundary: str
    fields: list[tuple[str, str]] = field(factory=list)
    files: list[FilePart] = field(factory=list)
    order: list[str] = field(factory=list)
    _parser: PushMultipartParser = field(init=False, repr=False)
    _segment: MultipartSegment | None = field(default=None, init=False, repr=False)
    _hash: Any = field(default=None, init=False, repr=False)
    _text: bytes = field(default=b"", init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._parser = PushMultipartParser(self.boundary, strict=True)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        :raises multipart.MultipartError: the body is not a multipart form.
        """
        for event in self._parser.parse(data):
            if isinstance(event, MultipartSegment):
                self._segment, self._hash, self._text = event, hashlib.sha256(), b""
                self.order.append(event.name)
                if event.filename is not None:
                    self.files.append(FilePart(event.name, event.filename, event.content_type or ""))
            elif event is not None:
                if self._segment is not None and self._segment.filename is not None:
                    self.files[-1].size += len(event)
                    self._hash.update(event)
                else:
                    self._text += event
            elif self._segment is not None:
                if self._segment.filename is not None:
                    self.files[-1].sha256 = self._hash.hexdigest()
                else:
                    self.fields.append((self._segment.name, self._text.decode()))
                self._segment = None

    def finish(self) -> None:
        """Note the end of the body.

        :raises multipart.MultipartError: the closing boundary is missing.
        """
        for _ in self._parser.parse(b""):
            pass

    @property
    def complete(self) -> bool:
        """Whether the closing boundary was seen."""
        return bool(self._parser.closed)

    def get(self, name: str, default: str = "") -> str:
        """Give the last value of a field."""
        return dict(self.fields).get(name, default)

    def as_body(self) -> dict[str, Any]:
        """Give the fields the way a JSON body would have them."""
        body: dict[str, Any] = dict(self.fields)
        body["stream"] = body.get("stream", "").lower() == "true"
        return body


def images(body: dict[str, Any], form: Form | None, path: str, faults: Faults) -> Reply:
    """Answer ``POST /v1/images/generations|edits|variations``."""
    prompt = str(body.get("prompt", ""))
    usage = {
        "input_tokens": tokens(prompt) + (300 if form and form.files else 0),
        "output_tokens": 272,
        "input_tokens_details": {
            "text_tokens": tokens(prompt),
            "image_tokens": 300 if form and form.files else 0,
        },
    }
    usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]  # type: ignore[operator]
    meta = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
    if body.get("stream"):
        kind = "image_edit" if path.endswith("edits") else "image_generation"
        common = {"b64_json": _PNG, "created_at": CREATED, **meta}
        partial = {"type": f"{kind}.partial_image", "partial_image_index": 0, **common}
        final = {"type": f"{kind}.completed", "usage": usage, **common}
        return stream_reply(
            [Event(dump(partial), str(partial["type"]))], [Event(dump(final), str(final["type"]))]
        )
    count = int(body.get("n") or 1)
    data = [{"b64_json": _PNG} for _ in range(count)]
    if form is not None:
        for entry in data:
            entry["revised_prompt"] = " ".join(f"{f.name}:{f.size}:{f.sha256}" for f in form.files)
    value: dict[str, Any] = {"created": CREATED, "data": data, **meta}
    if "nousage" not in faults:
        value["usage"] = usage
    return json_reply(value)


def speech(body: dict[str, Any], raw: bytes, faults: Faults) -> Reply:
    """Answer ``POST /v1/audio/speech``: bytes that depend on the input, 1 KiB a word."""
    text = str(body.get("input", ""))
    seed = hashlib.sha256(text.encode()).digest()
    audio = seed * 32 * max(1, len(text.split()))
    if body.get("stream_format") == "sse":
        usage = {"input_tokens": tokens(text), "output_tokens": 50, "total_tokens": tokens(text) + 50}
        delta = {"type": "speech.audio.delta", "audio": base64.b64encode(audio).decode()}
        done = {"type": "speech.audio.done", "usage": usage}
        return stream_reply([Event(dump(delta), delta["type"])], [Event(dump(done), str(done["type"]))])
    kinds = {
        "wav": "audio/wav",
        "opus": "audio/opus",
        "flac": "audio/flac",
        "aac": "audio/aac",
        "pcm": "audio/pcm",
    }
    return Reply(content_type=kinds.get(str(body.get("response_format")), "audio/mpeg"), body=audio)


def transcription(body: dict[str, Any], form: Form | None, path: str, faults: Faults) -> Reply:
    """Answer ``POST /v1/audio/transcriptions|translations``.

    The text is ``size=<bytes> sha256=<hex>`` of the uploaded file, so that a test can check that
    it arrived whole; then the prompt, if there was one (canaries).
    """
    if form is None or not form.complete:
        return error_reply(400, "a complete multipart body is needed")
    uploads = [f for f in form.files if f.name == "file"]
    if len(uploads) != 1:
        return error_reply(400, "exactly one file is needed", param="file")
    upload = uploads[0]
    text = f"size={upload.size} sha256={upload.sha256}"
    if body.get("prompt"):
        text += f" {body['prompt']}"
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"audio_tokens": 14, "text_tokens": 0},
        "output_tokens": 45,
        "total_tokens": 59,
    }
    wanted = body.get("response_format", "json")
    if body["stream"]:
        done = {"type": "transcript.text.done", "text": text}
        if "nousage" not in faults:
            done["usage"] = usage  # type: ignore[assignment]
        parts, _ = pieces("echo:" + text, "", None, faults)
        events = [
            Event(dump({"type": "transcript.text.delta", "delta": p}), "transcript.text.delta") for p in parts
        ]
        return stream_reply(events, [Event(dump(done), done["type"])])
    if wanted in ("text", "srt", "vtt"):
        return Reply(content_type="text/plain; charset=utf-8", body=text.encode() + b"\n")
    if wanted == "verbose_json":
        value: dict[str, Any] = {
            "task": "translate" if path.endswith("translations") else "transcribe",
            "language": "english",
            "duration": 1.5,
            "text": text,
            "segments": [],
            "usage": {"type": "duration", "seconds": 2},
        }
    else:
        value = {"text": text, "usage": usage}
    if "nousage" in faults:
        value.pop("usage")
    return json_reply(value)
