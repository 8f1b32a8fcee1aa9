"""What answers of the demo model are made of."""

from __future__ import annotations

import re
from typing import Any, Mapping, Sequence

import ujson
from attrs import frozen

from voidllm.providers.demo_schema import example

CREATED = 1_700_000_000
_JSON = ((b"content-type", b"application/json"),)
_EVENTS = ((b"content-type", b"text/event-stream"),)
_MOST_CALLS = 8


@frozen
class DemoReply:
    """One whole reply; ``chunks`` are sent one by one, an event each if it is a stream."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    chunks: tuple[bytes, ...]


def json_reply(value: dict[str, Any]) -> DemoReply:
    """Give a buffered reply."""
    return DemoReply(200, _JSON, (dump(value),))


def event_reply(events: Sequence[bytes]) -> DemoReply:
    """Give a stream of events."""
    return DemoReply(200, _EVENTS, tuple(events))


def dump(value: object) -> bytes:
    """Encode as JSON."""
    return ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False).encode("utf-8")


def event(value: object, name: str = "") -> bytes:
    """Encode one event of a stream."""
    prefix = f"event: {name}\n".encode("ascii") if name else b""
    return prefix + b"data: " + dump(value) + b"\n\n"


def words(value: object) -> int:
    """Count words in every string of a JSON value."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, dict):
        return sum(words(inner) for inner in value.values())
    if isinstance(value, list):
        return sum(words(inner) for inner in value)
    return 0


def text(prompt: int) -> str:
    """Say hello, and how long the request was."""
    return (
        "Hello! This is the demo model of your VoidLLM gateway. "
        f"Your request of about {prompt} tokens was authenticated, counted and answered "
        "without leaving this machine."
    )


def pieces(whole: str) -> list[str]:
    """Cut a text into what a stream sends one by one."""
    return re.findall(r"\S+\s*", whole)


def calls(request: Mapping[str, Any], functions: Sequence[Any]) -> list[tuple[str, str]]:
    """Choose the functions to call, all unless the caller chooses: names and arguments as JSON.

    :param functions: objects with ``name`` and ``parameters``.
    """
    choice = request.get("tool_choice")
    if choice == "none":
        return []
    wanted = [f for f in functions if isinstance(f, dict) and isinstance(f.get("name"), str)]
    if isinstance(choice, dict):
        # Chat completions put the name one level deeper than responses do.
        name = (choice.get("function") or choice).get("name")
        wanted = [f for f in wanted if f["name"] == name]
    elif request.get("parallel_tool_calls") is False:
        wanted = wanted[:1]
    return [(f["name"], ujson.dumps(example(f.get("parameters")) or {})) for f in wanted[:_MOST_CALLS]]
