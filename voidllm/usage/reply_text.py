"""How much text a reply delivers, for replies that do not say what they used.

Pure; only sizes leave this module.
"""

from __future__ import annotations

from typing import Any, Mapping

#: Top-level fields of a reply that can hold text a model wrote.
TEXT_FIELDS = ("choices", "output", "text")

_MESSAGE_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
_PART_TEXTS = ("text", "refusal", "transcript")


def text_size(reply: Mapping[str, Any]) -> int:
    """Give the characters that a model wrote in a complete reply.

    Understands chat and completions (``choices``), responses (``output``) and
    transcriptions (``text``); arguments of function calls are text too.
    """
    size = 0
    for choice in _objects(reply.get("choices")):
        size += _length(choice.get("text"))
        message = choice.get("message")
        if isinstance(message, dict):
            size += _fields(message, _MESSAGE_TEXTS)
            calls = [call.get("function") for call in _objects(message.get("tool_calls"))]
            for function in (*calls, message.get("function_call")):
                if isinstance(function, dict):
                    size += _fields(function, ("name", "arguments"))
    for item in _objects(reply.get("output")):
        size += _fields(item, ("name", "arguments", "input", "content", "summary"))
    return size + _length(reply.get("text"))


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _fields(value: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return sum(_length(value.get(name)) for name in names)


def _length(value: object) -> int:
    """Measure a text, or the texts of a list of content parts."""
    if isinstance(value, str):
        return len(value)
    size = 0
    for part in _objects(value):
        for name in _PART_TEXTS:
            text = part.get(name)
            if isinstance(text, str):
                size += len(text)
    return size
