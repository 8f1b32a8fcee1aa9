"""What the mock answers, byte for byte as ``native/mock.c`` and ``native/mcp.h`` do."""

from __future__ import annotations

import json
from typing import Any

_TEXT = (
    "Measured on the wire, this sentence stands for an answer of ordinary length; it says nothing of use, "
    "takes a few dozen tokens, and gives a gateway something to carry back to the caller."
)
_ID = "chatcmpl-mock00000000000000000001"
_TOOLS = (
    ("mock_tool", "Give a fixed answer"),
    ("mock_search", "Find fixed things"),
    ("mock_get", "Get a fixed thing"),
    ("mock_list", "List fixed things"),
    ("mock_create", "Pretend to make a thing"),
)
_SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "What to work on"}},
    "required": ["input"],
}
_NO_VERSION = "2025-06-18"

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\nx-request-id: req_mock\r\n\r\n"
)


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def reply(status: str, body: bytes, *more: str) -> bytes:
    """Make a whole JSON reply with its head."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *more]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def completion(padding: int) -> bytes:
    """Make the reply to a chat request, with so many bytes more in its text."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 42,
        "total_tokens": 142,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    message = {"role": "assistant", "content": _TEXT + "x" * padding, "refusal": None}
    value = {
        "id": _ID,
        "object": "chat.completion",
        "created": 1760000000,
        "model": "mock",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }
    return reply("200 OK", _dumps(value), "x-request-id: req_mock")


def _chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


_EVENT_START = (
    f'data: {{"id":"{_ID}","object":"chat.completion.chunk","created":1760000000,"model":"mock","choices":['
).encode()


def event(at_ns: int, number: int) -> bytes:
    """Make an event that carries the clock and its number."""
    return _chunk(
        _EVENT_START
        + b'{"index":0,"delta":{"content":"t=%019d n=%09d"},"logprobs":null,"finish_reason":null}]}\n\n'
        % (at_ns, number)
    )


def stream_end(events: int, usage: bool) -> bytes:
    """Make what follows the last token."""
    wire = _chunk(_EVENT_START + b'{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
    if usage:
        counts = b'],"usage":{"prompt_tokens":100,"completion_tokens":%d,"total_tokens":%d}}\n\n'
        wire += _chunk(_EVENT_START + counts % (events, 100 + events))
    return wire + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def mcp(body: bytes) -> tuple[bytes, bool]:
    """Give the reply to a JSON-RPC message, and whether it goes out at once instead of after the delay."""
    try:
        message = json.loads(body)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        error = {"code": -32600, "message": "Invalid Request"}
        return reply("400 Bad Request", _dumps({"jsonrpc": "2.0", "id": None, "error": error})), True
    if "id" not in message or "method" not in message:
        return ACCEPTED, True
    method, params = message["method"], message.get("params")
    more: tuple[str, ...] = ()
    outcome: dict[str, Any]
    if method == "tools/call":
        content = {"type": "text", "text": _dumps({"status": "ok", "source": "mock"}).decode()}
        outcome = {"result": {"content": [content], "isError": False}}
    elif method == "initialize":
        version = params.get("protocolVersion", _NO_VERSION) if isinstance(params, dict) else _NO_VERSION
        info = {"name": "bench", "version": "1"}
        outcome = {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}
        more = ("Mcp-Session-Id: bench-session-001",)
    elif method == "tools/list":
        tools = [{"name": n, "description": d, "inputSchema": _SCHEMA} for n, d in _TOOLS]
        outcome = {"result": {"tools": tools}}
    elif method == "ping":
        outcome = {"result": {}}
    else:
        outcome = {"error": {"code": -32601, "message": "Method not found"}}
    body = _dumps({"jsonrpc": "2.0", "id": message["id"], **outcome})
    return reply("200 OK", body, *more), method != "tools/call"
