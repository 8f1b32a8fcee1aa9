"""Chat completions and legacy completions of the demo model."""

from __future__ import annotations

from typing import Any

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


def chat(request: dict[str, Any]) -> DemoReply:
    """Answer ``chat/completions``."""
    prompt = max(1, words(request.get("messages")))
    message: dict[str, Any] = {"role": "assistant", "content": None}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    finish = "stop"
    if tool_calls := _tool_calls(request):
        finish = "tool_calls"
        message["tool_calls"] = tool_calls
        written = 0
        for index, call in enumerate(tool_calls):
            opening = {**call["function"], "arguments": ""}
            deltas.append({"tool_calls": [{"index": index, **call, "function": opening}]})
            for piece in pieces(call["function"]["arguments"]):
                written += 1
                deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    else:
        message["content"] = _content(request, prompt)
        deltas[0]["content"] = ""
        deltas += [{"content": piece} for piece in pieces(message["content"])]
        written = len(deltas) - 1
    usage = _usage(prompt, written)
    base = {"id": "chatcmpl-demo", "created": CREATED, "model": "demo"}
    if not request.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return json_reply({**base, "object": "chat.completion", "choices": [choice], "usage": usage})
    base["object"] = "chat.completion.chunk"
    return _chunks(base, [("delta", delta) for delta in deltas], finish, usage, request)


def completion(request: dict[str, Any]) -> DemoReply:
    """Answer ``completions``."""
    prompt = max(1, words(request.get("prompt")))
    whole = text(prompt)
    written = pieces(whole)
    usage = _usage(prompt, len(written))
    base = {"id": "cmpl-demo", "object": "text_completion", "created": CREATED, "model": "demo"}
    if request.get("stream"):
        return _chunks(base, [("text", piece) for piece in written], "stop", usage, request)
    choice = {"index": 0, "text": whole, "finish_reason": "stop", "logprobs": None}
    return json_reply({**base, "choices": [choice], "usage": usage})


def _usage(prompt: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def _chunks(
    base: dict[str, Any],
    deltas: list[tuple[str, Any]],
    finish: str,
    usage: dict[str, int],
    request: dict[str, Any],
) -> DemoReply:
    events = [
        event({**base, "choices": [{"index": 0, name: delta, "finish_reason": None}]})
        for name, delta in deltas
    ]
    last_name = deltas[-1][0]
    empty: Any = {} if last_name == "delta" else ""
    events.append(event({**base, "choices": [{"index": 0, last_name: empty, "finish_reason": finish}]}))
    if (request.get("stream_options") or {}).get("include_usage"):
        events.append(event({**base, "choices": [], "usage": usage}))
    events.append(b"data: [DONE]\n\n")
    return event_reply(events)


def _tool_calls(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Call functions unless the caller has just answered one."""
    tools, messages = request.get("tools"), request.get("messages")
    if not isinstance(tools, list):
        return []
    if isinstance(messages, list) and messages and messages[-1].get("role") == "tool":
        return []
    functions = [t.get("function") for t in tools if isinstance(t, dict)]
    return [
        {
            "id": f"call_demo_{number}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for number, (name, arguments) in enumerate(calls(request, functions), 1)
    ]


def _content(request: dict[str, Any], prompt: int) -> str:
    form = request.get("response_format")
    if not isinstance(form, dict):
        return text(prompt)
    kind = form.get("type")
    if kind == "json_schema":
        return ujson.dumps(example((form.get("json_schema") or {}).get("schema")))
    if kind == "json_object":
        return '{"answer": "demo"}'
    return text(prompt)
