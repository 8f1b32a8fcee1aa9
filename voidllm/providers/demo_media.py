"""Images and audio of the demo model: grey squares and silence."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from typing import Any

from voidllm.providers.demo_reply import CREATED, DemoReply, event, event_reply, json_reply, pieces, words

_FIELD = rb'name="%s"\r\n(?:[^\r\n]+\r\n)*\r\n([a-z0-9_]{1,16})\r\n'
_FORMAT_FIELD = re.compile(_FIELD % b"response_format")
_STREAM_FIELD = re.compile(_FIELD % b"stream", re.IGNORECASE)


def image(request: dict[str, Any]) -> DemoReply:
    """Answer ``images/generations``."""
    return _image("image_generation", max(1, words(request.get("prompt"))), bool(request.get("stream")))


def changed_image(body: bytes) -> DemoReply:
    """Answer ``images/edits`` and ``images/variations``.

    :param body: multipart form data.
    """
    return _image("image_edit", 1, _streams(body))


def _image(kind: str, prompt: int, stream: bool) -> DemoReply:
    usage = {
        "input_tokens": prompt,
        "output_tokens": 1,
        "total_tokens": prompt + 1,
        "input_tokens_details": {"text_tokens": prompt, "image_tokens": 0},
    }
    if not stream:
        return json_reply({"created": CREATED, "data": [{"b64_json": _png()}], "usage": usage})
    looks = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
    name = f"{kind}.completed"
    value = {"type": name, "b64_json": _png(), "created_at": CREATED, "usage": usage, **looks}
    return event_reply([event(value, name)])


def _png() -> str:
    """Encode a grey 8 by 8 PNG, in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\x80" * 8) * 8)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode("ascii")


def speech(request: dict[str, Any]) -> DemoReply:
    """Answer ``audio/speech``: a WAV file whatever was asked for, or its events."""
    samples = b"\x80" * 800  # a tenth of a second of silence, 8 kHz, 8 bit
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data"
    wav = head + struct.pack("<I", len(samples)) + samples
    riff = b"RIFF" + struct.pack("<I", len(wav)) + wav
    if request.get("stream_format") != "sse":
        return DemoReply(200, ((b"content-type", b"audio/wav"),), (riff,))
    prompt = max(1, words(request.get("input")))
    usage = {"input_tokens": prompt, "output_tokens": 1, "total_tokens": prompt + 1}
    delta = {"type": "speech.audio.delta", "audio": base64.b64encode(riff).decode("ascii")}
    return event_reply([event(delta), event({"type": "speech.audio.done", "usage": usage})])


def transcription(body: bytes) -> DemoReply:
    """Answer ``audio/transcriptions`` and ``audio/translations``.

    :param body: multipart form data.
    """
    text = f"The demo model received {len(body)} bytes and does not listen to them."
    found = _FORMAT_FIELD.search(body)
    kind = found.group(1) if found else b"json"
    written = pieces(text)
    usage = {"type": "tokens", "input_tokens": 1, "output_tokens": len(written)}
    usage["total_tokens"] = 1 + len(written)
    if _streams(body):
        deltas = [event({"type": "transcript.text.delta", "delta": piece}) for piece in written]
        return event_reply([*deltas, event({"type": "transcript.text.done", "text": text, "usage": usage})])
    if kind in (b"text", b"srt", b"vtt"):
        return DemoReply(200, ((b"content-type", b"text/plain; charset=utf-8"),), (text.encode("ascii"),))
    reply: dict[str, Any] = {"text": text, "usage": usage}
    if kind == b"verbose_json":
        reply |= {"task": "transcribe", "language": "english", "duration": 0.0, "segments": []}
    return json_reply(reply)


def _streams(body: bytes) -> bool:
    found = _STREAM_FIELD.search(body)
    return found is not None and found.group(1).lower() in (b"true", b"1")
