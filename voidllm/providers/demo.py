"""The demo model: answers every endpoint from inside the gateway, without a network.

It lets a new installation be tried at once. Its answers are fixed texts and shapes made
from the request's schema; they say how much arrived and repeat none of it.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any, Callable, Sized

import ujson

from voidllm.providers.demo_chat import chat, completion
from voidllm.providers.demo_media import changed_image, image, speech, transcription
from voidllm.providers.demo_reply import DemoReply, dump, json_reply, words
from voidllm.providers.demo_responses import responses

__all__ = ["DemoReply", "answer"]

_DIMENSIONS = 16
_MOST_RESULTS = 1000
_MOST_INPUTS = 2048


def answer(endpoint: str, body: bytes) -> DemoReply:
    """Answer a request to ``endpoint`` (the path below ``/v1/``)."""
    if endpoint in _UPLOADS:
        return _UPLOADS[endpoint](body)
    return _HANDLERS[endpoint](ujson.loads(body))


def _few(items: Sized) -> None:
    # The answer is made on the reactor, where everybody waits for it.
    if len(items) > _MOST_INPUTS:
        raise ValueError("too many inputs for the demo model")


def _embeddings(request: dict[str, Any]) -> DemoReply:
    inputs = request.get("input")
    items = inputs if isinstance(inputs, list) and inputs and not isinstance(inputs[0], int) else [inputs]
    _few(items)
    data = []
    for index, item in enumerate(items):
        digest = hashlib.blake2b(dump(item), digest_size=_DIMENSIONS).digest()
        vector = [(byte - 127.5) / 127.5 for byte in digest]
        embedding: Any = vector
        if request.get("encoding_format") == "base64":
            embedding = base64.b64encode(struct.pack(f"<{_DIMENSIONS}f", *vector)).decode("ascii")
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    prompt = max(1, words(inputs))
    usage = {"prompt_tokens": prompt, "total_tokens": prompt}
    return json_reply({"object": "list", "model": "demo", "data": data, "usage": usage})


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
    results = [result] * max(1, min(count, _MOST_RESULTS))
    return json_reply({"id": "modr-demo", "model": "demo", "results": results})


def _rerank(request: dict[str, Any]) -> DemoReply:
    documents = request.get("documents")
    count = len(documents) if isinstance(documents, list) else 0
    _few(range(count))
    results = [{"index": i, "relevance_score": 1.0 / (i + 1)} for i in range(count)]
    usage = {"total_tokens": max(1, words(documents) + words(request.get("query")))}
    return json_reply({"id": "rerank-demo", "model": "demo", "results": results, "usage": usage})


_HANDLERS: dict[str, Callable[[dict[str, Any]], DemoReply]] = {
    "chat/completions": chat,
    "completions": completion,
    "embeddings": _embeddings,
    "responses": responses,
    "moderations": _moderations,
    "rerank": _rerank,
    "images/generations": image,
    "audio/speech": speech,
}
_UPLOADS: dict[str, Callable[[bytes], DemoReply]] = {
    "images/edits": changed_image,
    "images/variations": changed_image,
    "audio/transcriptions": transcription,
    "audio/translations": transcription,
}
