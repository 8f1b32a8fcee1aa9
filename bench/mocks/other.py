"""Embeddings, moderations, rerank and models."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

from bench.mocks.faults import Faults
from bench.mocks.reply import Reply, error_reply, json_reply
from bench.mocks.text import CREATED, ident, text_of, tokens

MODELS = ("mock-model", "mock-echo", "mock-embed")


def _vector(text: str, size: int) -> list[float]:
    seed = hashlib.sha256(text.encode()).digest()
    # multiples of 1/128 survive float32 exactly, so float and base64 answers compare equal
    return [(seed[i % 32] - 128) / 128 for i in range(size)]


def embeddings(body: dict[str, Any], raw: bytes, faults: Faults) -> Reply:
    """Answer ``POST /v1/embeddings``; vectors depend on the text alone."""
    given = body.get("input")
    if isinstance(given, list) and given and not isinstance(given[0], int):
        texts = [text_of(t) if isinstance(t, str) else str(t) for t in given]
    elif given in (None, [], ""):
        return error_reply(400, "input: must not be empty", param="input")
    else:
        texts = [given if isinstance(given, str) else str(given)]
    size = body.get("dimensions") or 8
    data = []
    for index, text in enumerate(texts):
        vector: Any = _vector(text, size)
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    count = sum(tokens(t) for t in texts)
    value = {"object": "list", "data": data, "model": body.get("model")}
    if "nousage" not in faults:
        value["usage"] = {"prompt_tokens": count, "total_tokens": count}
    return json_reply(value)


_CATEGORY_TEXT = (
    "harassment harassment/threatening hate hate/threatening illicit illicit/violent self-harm "
    "self-harm/instructions self-harm/intent sexual sexual/minors violence violence/graphic"
)
_CATEGORIES = _CATEGORY_TEXT.split()


def moderations(body: dict[str, Any], raw: bytes, faults: Faults) -> Reply:
    """Answer ``POST /v1/moderations``; a text with "violence" in it is flagged."""
    given = body.get("input")
    results = []
    for text in [text_of(g) for g in given] if isinstance(given, list) else [text_of(given)]:
        flagged = "violence" in text
        results.append(
            {
                "flagged": flagged,
                "categories": {c: flagged and c == "violence" for c in _CATEGORIES},
                "category_scores": {c: 0.9 if flagged and c == "violence" else 0.001 for c in _CATEGORIES},
                "category_applied_input_types": {c: ["text"] for c in _CATEGORIES},
            }
        )
    return json_reply({"id": ident("modr-", raw), "model": body.get("model"), "results": results})


def rerank(body: dict[str, Any], raw: bytes, faults: Faults) -> Reply:
    """Answer ``POST /v1/rerank`` in the style of Cohere and Jina: longest common words first."""
    documents = body.get("documents") or []
    query = set(str(body.get("query", "")).split())
    scored = []
    for index, document in enumerate(documents):
        text = text_of(document)
        score = round(len(query & set(text.split())) / max(1, len(query)), 4)
        result: dict[str, Any] = {"index": index, "relevance_score": score}
        if body.get("return_documents"):
            result["document"] = {"text": text}
        scored.append(result)
    scored.sort(key=lambda r: (-r["relevance_score"], r["index"]))
    count = tokens(str(body.get("query", ""))) + sum(tokens(text_of(d)) for d in documents)
    value = {
        "id": ident("rerank-", raw),
        "model": body.get("model"),
        "results": scored[: body.get("top_n") or len(scored)],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
    if "nousage" not in faults:
        value["usage"] = {"prompt_tokens": count, "total_tokens": count}
    return json_reply(value)


def models(path: str) -> Reply:
    """Answer ``GET /v1/models`` and ``GET /v1/models/{id}``."""
    name = path.rpartition("/models")[2].lstrip("/")
    entries = {m: {"id": m, "object": "model", "created": CREATED, "owned_by": "mock"} for m in MODELS}
    if not name:
        return json_reply({"object": "list", "data": list(entries.values())})
    if name in entries:
        return json_reply(entries[name])
    return error_reply(404, f"The model {name!r} does not exist", "model_not_found", "model")
