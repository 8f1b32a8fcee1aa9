"""The Responses API: buffered, and as a stream of typed events."""

from __future__ import annotations

import json
from typing import Any

from bench.mocks.faults import Faults
from bench.mocks.reply import Event, Reply, dump, json_reply, stream_reply
from bench.mocks.text import CREATED, ident, instance, pieces, text_of, tokens


def _asked(value: Any) -> str:
    if isinstance(value, list) and value:
        return text_of(value[-1])
    return text_of(value)


def _items(body: dict[str, Any], raw: bytes, parts: list[str]) -> list[dict[str, Any]]:
    text = "".join(parts)
    given = body.get("input")
    answered = isinstance(given, list) and any(
        isinstance(i, dict) and i.get("type") == "function_call_output" for i in given
    )
    tools = [t for t in body.get("tools") or () if isinstance(t, dict) and t.get("type") == "function"]
    if tools and not answered and body.get("tool_choice") != "none":
        if body.get("parallel_tool_calls") is False:
            tools = tools[:1]
        return [
            {
                "type": "function_call",
                "id": ident("fc_", raw + str(i).encode()),
                "call_id": ident("call_", raw + str(i).encode()),
                "name": tool["name"],
                "arguments": json.dumps(instance(tool.get("parameters") or {"type": "object"}, text)),
                "status": "completed",
            }
            for i, tool in enumerate(tools[:8])
        ]
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        text = json.dumps(instance(wanted.get("schema", {}), text), ensure_ascii=False)
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return [
        {
            "type": "message",
            "id": ident("msg_", raw),
            "role": "assistant",
            "status": "completed",
            "content": content,
        }
    ]


def _envelope(body: dict[str, Any], raw: bytes) -> dict[str, Any]:
    return {
        "id": ident("resp_", raw),
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": body.get("metadata") or {},
        "model": body.get("model"),
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "store": body.get("store", True),
        "usage": None,
    }


def responses(body: dict[str, Any], raw: bytes, faults: Faults) -> Reply:
    """Answer ``POST /v1/responses``."""
    limit = body.get("max_output_tokens")
    parts, cut = pieces(_asked(body.get("input")), body.get("model"), limit, faults)
    items = _items(body, raw, parts)
    envelope = _envelope(body, raw)
    reasoning = faults.number("reasoning")
    spent = tokens(text_of(body.get("input"))) + tokens(text_of(body.get("instructions")))
    usage = {
        "input_tokens": spent,
        "input_tokens_details": {"cached_tokens": faults.number("cached")},
        "output_tokens": len(parts) + reasoning,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": spent + len(parts) + reasoning,
    }
    final = {**envelope, "output": items, "usage": None if "nousage" in faults else usage}
    if cut:
        final |= {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    if not body.get("stream"):
        return json_reply(final)
    return _stream(envelope, items, final, parts)


def _stream(
    envelope: dict[str, Any], items: list[dict[str, Any]], final: dict[str, Any], parts: list[str]
) -> Reply:
    events: list[Event] = []

    def add(kind: str, **values: Any) -> None:
        events.append(Event(dump({"type": kind, "sequence_number": len(events), **values}), kind))

    begun = {**envelope, "status": "in_progress"}
    add("response.created", response=begun)
    add("response.in_progress", response=begun)
    for index, item in enumerate(items):
        at = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "function_call":
            opening = {**item, "arguments": "", "status": "in_progress"}
            add("response.output_item.added", output_index=index, item=opening)
            arguments = item["arguments"]
            for start in range(0, len(arguments), 7):
                add("response.function_call_arguments.delta", **at, delta=arguments[start : start + 7])
            add("response.function_call_arguments.done", **at, arguments=arguments, name=item["name"])
        else:
            opening = {**item, "content": [], "status": "in_progress"}
            add("response.output_item.added", output_index=index, item=opening)
            part = item["content"][0]
            at["content_index"] = 0
            add("response.content_part.added", **at, part={**part, "text": ""})
            whole = "".join(parts)
            for piece in parts if whole == part["text"] else [part["text"]]:
                add("response.output_text.delta", **at, delta=piece, logprobs=[])
            add("response.output_text.done", **at, text=part["text"], logprobs=[])
            add("response.content_part.done", **at, part=part)
        add("response.output_item.done", output_index=index, item=item)
    add("response.incomplete" if final["status"] == "incomplete" else "response.completed", response=final)
    return stream_reply(events[:-1], events[-1:])
