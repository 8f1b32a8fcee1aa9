"""Chat completions and legacy completions in OpenAI's wire format."""

from __future__ import annotations

import json
from typing import Any

from bench.mocks.faults import Faults
from bench.mocks.reply import Event, Reply, dump, error_reply, json_reply, stream_reply
from bench.mocks.text import CREATED, ident, instance, pieces, text_of, tokens

DONE = Event(b"[DONE]")


def usage_of(prompt: int, completion: int, faults: Faults) -> dict[str, Any]:
    """Give a usage object with its details."""
    reasoning = faults.number("reasoning")
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion + reasoning,
        "total_tokens": prompt + completion + reasoning,
        "prompt_tokens_details": {"cached_tokens": faults.number("cached"), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tool_calls(body: dict[str, Any], messages: list[Any], text: str, seed: bytes) -> list[dict[str, Any]]:
    """Decide which functions to call: all the given ones, once, before any tool result is there."""
    tools = [
        t["function"] for t in body.get("tools") or () if isinstance(t, dict) and t.get("type") == "function"
    ]
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none" or (messages and messages[-1].get("role") == "tool"):
        return []
    if isinstance(choice, dict):
        tools = [t for t in tools if t["name"] == choice.get("function", {}).get("name")]
    elif body.get("parallel_tool_calls") is False:
        tools = tools[:1]
    return [
        {
            "id": ident("call_", seed + str(i).encode()),
            "type": "function",
            "function": {
                "name": tool["name"],
                "arguments": json.dumps(instance(tool.get("parameters") or {"type": "object"}, text)),
            },
        }
        for i, tool in enumerate(tools[:8])
    ]


def _logprob(token: str) -> dict[str, Any]:
    return {"token": token, "logprob": -0.25, "bytes": list(token.encode()), "top_logprobs": []}


def chat(body: dict[str, Any], raw: bytes, faults: Faults) -> Reply:
    """Answer ``POST /v1/chat/completions``."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        return error_reply(400, "messages: a non-empty array is needed", param="messages")
    asked = text_of(messages[-1].get("content"))
    model = body.get("model")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    parts, cut = pieces(asked, model, limit, faults)
    calls = _tool_calls(body, messages, "".join(parts), raw)
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        value = instance(wanted.get("json_schema", {}).get("schema", {}), "".join(parts))
        encoded = json.dumps(value, ensure_ascii=False)
        parts, cut = [encoded[i : i + 9] for i in range(0, len(encoded), 9)], False
    elif wanted.get("type") == "json_object":
        parts, cut = ['{"text":', json.dumps("".join(parts), ensure_ascii=False), "}"], False
    count = body.get("n") or 1
    prompt = 3 + sum(3 + tokens(text_of(m.get("content"))) for m in messages)
    completion = sum(tokens(c["function"]["arguments"]) + 4 for c in calls) if calls else len(parts)
    head = {
        "id": ident("chatcmpl-", raw),
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": f"fp_mock_{body.get('seed', 0)}",
    }
    usage = usage_of(prompt, completion * count, faults)
    finish = "tool_calls" if calls else ("length" if cut else "stop")
    if body.get("stream"):
        return _chat_stream(body, head, parts, calls, count, finish, usage, faults)
    choices = []
    for index in range(count):
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(parts),
            "refusal": None,
            "annotations": [],
        }
        if calls:
            message |= {"content": None, "tool_calls": calls}
        logprobs = (
            {"content": [_logprob(p) for p in parts], "refusal": None} if body.get("logprobs") else None
        )
        choices.append({"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish})
    value = {**head, "choices": choices}
    if "nousage" not in faults:
        value["usage"] = usage
    return json_reply(value)


def _deltas(parts: list[str], calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not calls:
        return [{"content": part} for part in parts]
    deltas: list[dict[str, Any]] = []
    for i, call in enumerate(calls):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        opening = {
            "index": i,
            "id": call["id"],
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        deltas.append({"tool_calls": [opening]})
        for at in range(0, len(arguments), 7):
            deltas.append({"tool_calls": [{"index": i, "function": {"arguments": arguments[at : at + 7]}}]})
    return deltas


def _chat_stream(
    body: dict[str, Any],
    head: dict[str, Any],
    parts: list[str],
    calls: list[dict[str, Any]],
    count: int,
    finish: str,
    usage: dict[str, Any],
    faults: Faults,
) -> Reply:
    options = body.get("stream_options")
    asked = bool(isinstance(options, dict) and options.get("include_usage")) and "nousage" not in faults
    head = {**head, "object": "chat.completion.chunk"}
    events: list[Event] = []

    def add(choices: list[Any], spent: Any = None) -> None:
        value = {**head, "choices": choices}
        if asked or spent:
            value["usage"] = spent
        elif "usageevery" in faults:
            value["usage"] = usage
        events.append(Event(dump(value)))

    for index in range(count):
        opening = {"role": "assistant", "content": None if calls else "", "refusal": None}
        add([{"index": index, "delta": opening, "logprobs": None, "finish_reason": None}])
    for delta in _deltas(parts, calls):
        for index in range(count):
            text = delta.get("content")
            logs = {"content": [_logprob(text)], "refusal": None} if text and body.get("logprobs") else None
            add([{"index": index, "delta": delta, "logprobs": logs, "finish_reason": None}])
    for index in range(count):
        add([{"index": index, "delta": {}, "logprobs": None, "finish_reason": finish}])
    if asked:
        add([], usage)
    return stream_reply(events, [DONE])


def completions(body: dict[str, Any], raw: bytes, faults: Faults) -> Reply:
    """Answer ``POST /v1/completions``."""
    prompt = body.get("prompt", "")
    asked = text_of(prompt)
    parts, cut = pieces(asked, body.get("model"), body.get("max_tokens"), faults)
    head = {
        "id": ident("cmpl-", raw),
        "object": "text_completion",
        "created": CREATED,
        "model": body.get("model"),
        "system_fingerprint": f"fp_mock_{body.get('seed', 0)}",
    }
    count = (body.get("n") or 1) * (len(prompt) if isinstance(prompt, list) and prompt else 1)
    usage = usage_of(tokens(asked), len(parts) * count, faults)
    finish = "length" if cut else "stop"

    def choice(index: int, text: str, reason: str | None) -> dict[str, Any]:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}

    if not body.get("stream"):
        value = {**head, "choices": [choice(i, "".join(parts), finish) for i in range(count)]}
        if "nousage" not in faults:
            value["usage"] = usage
        return json_reply(value)
    options = body.get("stream_options")
    wants_usage = bool(isinstance(options, dict) and options.get("include_usage")) and "nousage" not in faults
    extra = {"usage": None} if wants_usage else {}
    events = [
        Event(dump({**head, "choices": [choice(i, part, None)], **extra}))
        for part in parts
        for i in range(count)
    ]
    events += [Event(dump({**head, "choices": [choice(i, "", finish)], **extra})) for i in range(count)]
    if wants_usage:
        events.append(Event(dump({**head, "choices": [], "usage": usage})))
    return stream_reply(events, [DONE])
