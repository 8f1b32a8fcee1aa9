"""The Responses API of the demo model."""

from __future__ import annotations

from typing import Any, Iterator

import ujson

from voidllm.providers.demo_reply import (
    CREATED,
    DemoReply,
    calls,
    event,
    event_reply,
    json_reply,
    pieces,
    text,
    words,
)
from voidllm.providers.demo_schema import example


def responses(request: dict[str, Any]) -> DemoReply:
    """Answer ``responses``."""
    prompt = max(1, words(request.get("input")) + words(request.get("instructions")))
    items = _function_calls(request) or [_message(request, prompt)]
    written = sum(len(pieces(_content(item))) for item in items)
    base: dict[str, Any] = {
        "id": "resp_demo",
        "object": "response",
        "created_at": CREATED,
        "model": "demo",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + written,
    }
    complete = {**base, "status": "completed", "output": items, "usage": usage}
    if not request.get("stream"):
        return json_reply(complete)
    return event_reply(tuple(_events(base, items, complete)))


def _message(request: dict[str, Any], prompt: int) -> dict[str, Any]:
    whole = text(prompt)
    form = (request.get("text") or {}).get("format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        whole = ujson.dumps(example(form.get("schema")))
    return {
        "id": "msg_demo",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": whole, "annotations": []}],
    }


def _function_calls(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Call functions unless the caller has just answered one."""
    tools, given = request.get("tools"), request.get("input")
    if not isinstance(tools, list):
        return []
    if isinstance(given, list) and given and given[-1].get("type") == "function_call_output":
        return []
    functions = [t for t in tools if isinstance(t, dict) and t.get("type") == "function"]
    return [
        {
            "id": f"fc_demo_{number}",
            "type": "function_call",
            "call_id": f"call_demo_{number}",
            "name": name,
            "arguments": arguments,
            "status": "completed",
        }
        for number, (name, arguments) in enumerate(calls(request, functions), 1)
    ]


def _content(item: dict[str, Any]) -> str:
    return str(item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])


def _events(base: dict[str, Any], items: list[dict[str, Any]], complete: dict[str, Any]) -> Iterator[bytes]:
    number = -1

    def typed(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return event({"type": kind, "sequence_number": number, **fields}, kind)

    opening = {**base, "status": "in_progress", "output": []}
    yield typed("response.created", response=opening)
    yield typed("response.in_progress", response=opening)
    for index, item in enumerate(items):
        place: dict[str, Any] = {"item_id": item["id"], "output_index": index}
        whole = _content(item)
        if item["type"] == "function_call":
            started = {**item, "status": "in_progress", "arguments": ""}
            yield typed("response.output_item.added", output_index=index, item=started)
            for piece in pieces(whole):
                yield typed("response.function_call_arguments.delta", **place, delta=piece)
            yield typed("response.function_call_arguments.done", **place, name=item["name"], arguments=whole)
        else:
            part = item["content"][0]
            place["content_index"] = 0
            started = {**item, "status": "in_progress", "content": []}
            yield typed("response.output_item.added", output_index=index, item=started)
            yield typed("response.content_part.added", **place, part={**part, "text": ""})
            for piece in pieces(whole):
                yield typed("response.output_text.delta", **place, delta=piece, logprobs=[])
            yield typed("response.output_text.done", **place, text=whole, logprobs=[])
            yield typed("response.content_part.done", **place, part=part)
        yield typed("response.output_item.done", output_index=index, item=item)
    yield typed("response.completed", response=complete)
