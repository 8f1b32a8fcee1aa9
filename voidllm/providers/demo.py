"""The demo model: answers every endpoint from inside the gateway, without a network.

It lets a new installation be tried at once. Its answers are fixed texts and shapes made
from the request's schema; they say how much arrived and repeat none of it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import zlib
from typing import Any, Callable, Iterator

import ujson
from attrs import frozen

from voidllm.providers.demo_schema import example

_JSON = ((b"content-type", b"application/json"),)
_EVENTS = ((b"content-type", b"text/event-stream"),)
_FORMAT_FIELD = re.compile(rb'name="response_format"\r\n(?:[^\r\n]+\r\n)*\r\n([a-z_]{1,16})\r\n')
_CREATED = 1_700_000_000
_DIMENSIONS = 16


@frozen
class DemoReply:
    """One whole reply; ``chunks`` are sent one by one, an event each if it is a stream."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    chunks: tuple[bytes, ...]


def answer(endpoint: str, body: bytes) -> DemoReply:
    """Answer a request to ``endpoint`` (the path below ``/v1/``)."""
    if endpoint.startswith("audio/tr"):
        return _transcription(body)
    if endpoint in ("images/edits", "images/variations"):
        return _json({"created": _CREATED, "data": [{"b64_json": _png()}]})
    request = ujson.loads(body)
    return _HANDLERS[endpoint](request)


def _json(value: dict[str, Any]) -> DemoReply:
    return DemoReply(200, _JSON, (_dump(value),))


def _dump(value: object) -> bytes:
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False).encode("utf-8")


def _event(value: object, name: str = "") -> bytes:
    prefix = f"event: {name}\n".encode("ascii") if name else b""
    return prefix + b"data: " + _dump(value) + b"\n\n"


def _words(value: object) -> int:
    """Count words in every string of a JSON value."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, dict):
        return sum(_words(inner) for inner in value.values())
    if isinstance(value, list):
        return sum(_words(inner) for inner in value)
    return 0


def _text(prompt: int) -> str:
    return (
        "Hello! This is the demo model of your VoidLLM gateway. "
        f"Your request of about {prompt} tokens was authenticated, counted and answered "
        "without leaving this machine."
    )


def _pieces(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)


def _chat(request: dict[str, Any]) -> DemoReply:
    prompt = max(1, _words(request.get("messages")))
    message: dict[str, Any] = {"role": "assistant", "content": None}
    finish = "stop"
    tool = _tool_to_call(request)
    if tool is not None:
        finish = "tool_calls"
        arguments = ujson.dumps(example(tool.get("parameters")) or {})
        function = {"name": tool.get("name"), "arguments": arguments}
        message["tool_calls"] = [{"id": "call_demo_1", "type": "function", "function": function}]
        pieces = [arguments]
    else:
        message["content"] = _content(request, prompt)
        pieces = _pieces(message["content"])
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": len(pieces),
        "total_tokens": prompt + len(pieces),
    }
    base = {"id": "chatcmpl-demo", "created": _CREATED, "model": "demo"}
    if not request.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return _json({**base, "object": "chat.completion", "choices": [choice], "usage": usage})
    base["object"] = "chat.completion.chunk"
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if tool else ""}]
    if tool is not None:
        call = message["tool_calls"][0]
        opening = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": 0, **call, "function": opening}]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
    else:
        deltas += [{"content": piece} for piece in pieces]
    return _chunks(base, [("delta", delta) for delta in deltas], finish, usage, request)


def _chunks(
    base: dict[str, Any],
    deltas: list[tuple[str, Any]],
    finish: str,
    usage: dict[str, int],
    request: dict[str, Any],
) -> DemoReply:
    events = [
        _event({**base, "choices": [{"index": 0, name: delta, "finish_reason": None}]})
        for name, delta in deltas
    ]
    last_name = deltas[-1][0]
    empty: Any = {} if last_name == "delta" else ""
    events.append(_event({**base, "choices": [{"index": 0, last_name: empty, "finish_reason": finish}]}))
    if (request.get("stream_options") or {}).get("include_usage"):
        events.append(_event({**base, "choices": [], "usage": usage}))
    events.append(b"data: [DONE]\n\n")
    return DemoReply(200, _EVENTS, tuple(events))


def _tool_to_call(request: dict[str, Any]) -> dict[str, Any] | None:
    """Choose a tool unless the caller forbids it or has just answered one."""
    tools = request.get("tools")
    choice = request.get("tool_choice")
    messages = request.get("messages")
    if not isinstance(tools, list) or not tools or choice == "none":
        return None
    if isinstance(messages, list) and messages and messages[-1].get("role") == "tool":
        return None
    functions = [t["function"] for t in tools if isinstance(t, dict) and isinstance(t.get("function"), dict)]
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        functions = [f for f in functions if f.get("name") == wanted]
    return functions[0] if functions else None


def _content(request: dict[str, Any], prompt: int) -> str:
    form = request.get("response_format")
    if not isinstance(form, dict):
        return _text(prompt)
    kind = form.get("type")
    if kind == "json_schema":
        return ujson.dumps(example((form.get("json_schema") or {}).get("schema")))
    if kind == "json_object":
        return '{"answer": "demo"}'
    return _text(prompt)


def _completion(request: dict[str, Any]) -> DemoReply:
    prompt = max(1, _words(request.get("prompt")))
    pieces = _pieces(_text(prompt))
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": len(pieces),
        "total_tokens": prompt + len(pieces),
    }
    base = {"id": "cmpl-demo", "object": "text_completion", "created": _CREATED, "model": "demo"}
    if request.get("stream"):
        return _chunks(base, [("text", piece) for piece in pieces], "stop", usage, request)
    choice = {"index": 0, "text": "".join(pieces), "finish_reason": "stop", "logprobs": None}
    return _json({**base, "choices": [choice], "usage": usage})


def _embeddings(request: dict[str, Any]) -> DemoReply:
    inputs = request.get("input")
    items = inputs if isinstance(inputs, list) and inputs and not isinstance(inputs[0], int) else [inputs]
    data = []
    for index, item in enumerate(items):
        digest = hashlib.blake2b(_dump(item), digest_size=_DIMENSIONS).digest()
        vector = [(byte - 127.5) / 127.5 for byte in digest]
        embedding: Any = vector
        if request.get("encoding_format") == "base64":
            embedding = base64.b64encode(struct.pack(f"<{_DIMENSIONS}f", *vector)).decode("ascii")
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    prompt = max(1, _words(inputs))
    usage = {"prompt_tokens": prompt, "total_tokens": prompt}
    return _json({"object": "list", "model": "demo", "data": data, "usage": usage})


def _responses(request: dict[str, Any]) -> DemoReply:
    prompt = max(1, _words(request.get("input")))
    pieces = _pieces(_text(prompt))
    text = "".join(pieces)
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {
        "id": "msg_demo",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    base: dict[str, Any] = {
        "id": "resp_demo",
        "object": "response",
        "created_at": _CREATED,
        "model": "demo",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": len(pieces),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + len(pieces),
    }
    complete = {**base, "status": "completed", "output": [item], "usage": usage}
    if not request.get("stream"):
        return _json(complete)
    return DemoReply(200, _EVENTS, tuple(_response_events(base, item, part, pieces, complete)))


def _response_events(
    base: dict[str, Any],
    item: dict[str, Any],
    part: dict[str, Any],
    pieces: list[str],
    complete: dict[str, Any],
) -> Iterator[bytes]:
    number = -1

    def event(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return _event({"type": kind, "sequence_number": number, **fields}, kind)

    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    opening = {**base, "status": "in_progress", "output": []}
    yield event("response.created", response=opening)
    yield event("response.in_progress", response=opening)
    started = {**item, "status": "in_progress", "content": []}
    yield event("response.output_item.added", output_index=0, item=started)
    yield event("response.content_part.added", **place, part={**part, "text": ""})
    for piece in pieces:
        yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
    yield event("response.output_text.done", **place, text=part["text"], logprobs=[])
    yield event("response.content_part.done", **place, part=part)
    yield event("response.output_item.done", output_index=0, item=item)
    yield event("response.completed", response=complete)


def _moderations(request: dict[str, Any]) -> DemoReply:
    names = ("harassment", "hate", "self-harm", "sexual", "violence")
    result = {
        "flagged": False,
        "categories": dict.fromkeys(names, False),
        "category_scores": dict.fromkeys(names, 0.0),
        "category_applied_input_types": {name: ["text"] for name in names},
    }
    inputs = request.get("input")
    count = len(inputs) if isinstance(inputs, list) else 1
    return _json({"id": "modr-demo", "model": "demo", "results": [result] * max(1, min(count, 1000))})


def _rerank(request: dict[str, Any]) -> DemoReply:
    documents = request.get("documents")
    count = len(documents) if isinstance(documents, list) else 0
    results = [{"index": i, "relevance_score": 1.0 / (i + 1)} for i in range(count)]
    usage = {"total_tokens": max(1, _words(documents) + _words(request.get("query")))}
    return _json({"id": "rerank-demo", "model": "demo", "results": results, "usage": usage})


def _image(request: dict[str, Any]) -> DemoReply:
    prompt = max(1, _words(request.get("prompt")))
    usage = {
        "input_tokens": prompt,
        "output_tokens": 1,
        "total_tokens": prompt + 1,
        "input_tokens_details": {"text_tokens": prompt, "image_tokens": 0},
    }
    return _json({"created": _CREATED, "data": [{"b64_json": _png()}], "usage": usage})


def _png() -> str:
    """Encode a grey 8 by 8 PNG, in base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\x80" * 8) * 8)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode("ascii")


def _speech(request: dict[str, Any]) -> DemoReply:
    samples = b"\x80" * 800  # a tenth of a second of silence, 8 kHz, 8 bit
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data"
    wav = head + struct.pack("<I", len(samples)) + samples
    riff = b"RIFF" + struct.pack("<I", len(wav)) + wav
    return DemoReply(200, ((b"content-type", b"audio/wav"),), (riff,))


def _transcription(body: bytes) -> DemoReply:
    text = f"The demo model received {len(body)} bytes and does not listen to them."
    found = _FORMAT_FIELD.search(body)
    kind = found.group(1) if found else b"json"
    if kind in (b"text", b"srt", b"vtt"):
        return DemoReply(200, ((b"content-type", b"text/plain; charset=utf-8"),), (text.encode("ascii"),))
    usage = {"type": "tokens", "input_tokens": 1, "output_tokens": len(text.split())}
    usage["total_tokens"] = 1 + len(text.split())
    reply: dict[str, Any] = {"text": text, "usage": usage}
    if kind == b"verbose_json":
        reply |= {"task": "transcribe", "language": "english", "duration": 0.0, "segments": []}
    return _json(reply)


_HANDLERS: dict[str, Callable[[dict[str, Any]], DemoReply]] = {
    "chat/completions": _chat,
    "completions": _completion,
    "embeddings": _embeddings,
    "responses": _responses,
    "moderations": _moderations,
    "rerank": _rerank,
    "images/generations": _image,
    "audio/speech": _speech,
}
