"""What is measured: which request it is, and whether the gateway can be asked it yet.

:data:`UNBUILT` is the one place that knows what the gateway cannot do; taking a line out of it, and
giving the subject its ``gateway_path``, makes every scenario measure that subject too.
"""

from __future__ import annotations

import json
from typing import Any, Mapping

from attrs import frozen

MODEL = "bench"
#: As long as chat requests are on average: with two messages and a few parameters.
SMALL = 1030
_FILLER = "Give a short answer to a question that stands here only to make the body as long as usual. "

#: Why a subject cannot be measured through the gateway.
UNBUILT: Mapping[str, str] = {
    "mcp": "the gateway has no MCP proxy yet",
    "codemode": "the gateway has no Code Mode yet",
}


@frozen
class Subject:
    """One kind of request.

    :ivar key: name in the results.
    :ivar direct_path: request target at the mock; ``None`` when there is no direct way.
    :ivar gateway_path: request target at the gateway.
    """

    key: str
    title: str
    direct_path: str | None
    gateway_path: str

    @property
    def skipped(self) -> str | None:
        """Give why it cannot be measured through the gateway, ``None`` when it can."""
        return UNBUILT.get(self.key)


LLM = Subject("llm", "LLM", "/v1/chat/completions", "/v1/chat/completions")
MCP = Subject("mcp", "MCP", "/mcp", "/api/v1/mcp/bench")
CODEMODE = Subject("codemode", "Code Mode", None, "/api/v1/mcp")
SUBJECTS = (LLM, MCP, CODEMODE)


def chat_body(size: int, *, stream: bool = False) -> bytes:
    """Make a chat request of ``size`` bytes (within one of it)."""
    value: dict[str, Any] = {"model": MODEL}
    if stream:
        value["stream"] = True
    value |= {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ""}],
        "temperature": 0.2,
        "max_tokens": 256,
    }
    missing = size - len(json.dumps(value))
    value["messages"][1]["content"] = (_FILLER * (missing // len(_FILLER) + 1))[: max(0, missing)]
    return json.dumps(value).encode()


def _call(name: str, arguments: dict[str, str]) -> bytes:
    params = {"name": name, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def body_of(subject: Subject, size: int = SMALL, *, stream: bool = False) -> bytes:
    """Make the request of a subject; ``size`` and ``stream`` are for chat."""
    if subject is MCP:
        return _call("mock_tool", {"input": "bench"})
    if subject is CODEMODE:
        return _call("execute_code", {"code": "1+1"})
    return chat_body(size, stream=stream)


def headers_of(subject: Subject) -> tuple[str, ...]:
    """Give the header lines that a subject wants beside the generator's own."""
    return () if subject is LLM else ("Accept: application/json, text/event-stream",)
