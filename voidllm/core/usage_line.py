"""A usage event as one JSON array: what the journal keeps and what a store reads, unparsed on the way.

The first element is :data:`VERSION`, the others are the values named in :data:`LAYOUT`, in that
order. Positions instead of names make a line short, and let a store take the values of many lines
without anybody making objects of them. What may change without a new version: a value can be
added at the end, with a default for the lines that do not have it; readers ignore values behind
those that they know. Values are never moved, taken away or given another type.
"""

from __future__ import annotations

from typing import Any, Callable

import msgspec
import ujson
from attrs import fields, frozen

from voidllm.core.usage import TokenCounts, UsageEvent

#: Grows only when older readers would misunderstand a line.
VERSION = 1

#: How every line of this version begins.
PREFIX = b"[%d," % VERSION


@frozen
class Value:
    """One place of a line.

    :ivar name: the column of ``usage_events`` that it becomes.
    :ivar type: ``text``, ``int`` or ``bool``.
    :ivar optional: whether it may be null.
    :ivar default: stands in for a value that a line is too short to have; ``None`` with
        ``optional`` false: every line has it.
    """

    name: str
    type: str
    optional: bool = False
    default: str | int | None = None


#: ``started_ms`` first, so that it can be had without parsing the rest.
LAYOUT = (
    Value("started_ms", "int"),
    Value("id", "text"),
    Value("request_id", "text"),
    Value("kind", "text"),
    Value("endpoint", "text"),
    Value("org_id", "text"),
    Value("key_id", "text"),
    Value("key_type", "text"),
    Value("status", "int"),
    Value("duration_ms", "int"),
    Value("model", "text", default=""),
    Value("requested_model", "text", default=""),
    Value("deployment", "text", default=""),
    Value("provider", "text", default=""),
    Value("team_id", "text", optional=True),
    Value("user_id", "text", optional=True),
    Value("service_account_id", "text", optional=True),
    Value("parent_id", "text", optional=True),
    Value("error_code", "text", default=""),
    Value("stream", "bool", default=False),
    Value("input_tokens", "int", default=0),
    Value("cache_read_tokens", "int", default=0),
    Value("cache_write_tokens", "int", default=0),
    Value("output_tokens", "int", default=0),
    Value("reasoning_tokens", "int", default=0),
    Value("audio_input_tokens", "int", default=0),
    Value("audio_output_tokens", "int", default=0),
    Value("source", "text", default="none"),
    Value("cost_nano", "int", optional=True),
    Value("price_version", "text", default=""),
    Value("ttft_ms", "int", optional=True),
    Value("tags", "text", default=""),
)

#: How many elements a line has, version included.
WIDTH = 1 + len(LAYOUT)

#: One for each element: what a line that is too short is filled up with.
DEFAULTS = (VERSION, *(value.default for value in LAYOUT))

_TYPES = {"text": str, "int": int, "bool": bool}
_ALLOWED = [{_TYPES[v.type], type(None)} if v.optional else {_TYPES[v.type]} for v in LAYOUT]
_PLACES = {value.name: place for place, value in enumerate(LAYOUT)}
_BUCKETS = [_PLACES[f"{field.name}_tokens"] for field in fields(TokenCounts)]
#: For each parameter of :class:`UsageEvent` but the tokens, where its value stands.
_ARGUMENTS = [(f.name, _PLACES[f.name]) for f in fields(UsageEvent) if f.name != "tokens"]

_dumps = ujson.dumps
_encode = msgspec.json.Encoder().encode
_build: Callable[..., UsageEvent] = UsageEvent


class Unusable(ValueError):
    """Bytes that are no line of this version.

    :ivar reason: ``version`` or ``format``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode_line(event: UsageEvent) -> bytes:
    """Give the line of ``event``: ASCII, without a newline."""
    t = event.tokens
    values = (
        VERSION,
        event.started_ms,
        event.id,
        event.request_id,
        event.kind,
        event.endpoint,
        event.org_id,
        event.key_id,
        event.key_type,
        event.status,
        event.duration_ms,
        event.model,
        event.requested_model,
        event.deployment,
        event.provider,
        event.team_id,
        event.user_id,
        event.service_account_id,
        event.parent_id,
        event.error_code,
        event.stream,
        t.input,
        t.cache_read,
        t.cache_write,
        t.output,
        t.reasoning,
        t.audio_input,
        t.audio_output,
        event.source,
        event.cost_nano,
        event.price_version,
        event.ttft_ms,
        event.tags,
    )
    try:
        # 0.3 us against 1.3, but not ASCII where a name is not.
        line = _encode(values)
        if line.isascii():
            return line
    except (UnicodeEncodeError, OverflowError):
        pass
    # ASCII, so that a lone surrogate in a name cannot make a line that is not UTF-8.
    return _dumps(values, escape_forward_slashes=False, allow_nan=False).encode("ascii")


def decode_line(line: bytes) -> UsageEvent:
    """Read one line, with every value's type checked.

    :raises Unusable: if it is of another version or not as :data:`LAYOUT` says.
    """
    try:
        found = ujson.loads(line)
    except ValueError:
        raise Unusable("format") from None
    if type(found) is not list or not found:
        raise Unusable("format")
    if found[0] != VERSION:
        raise Unusable("version")
    values: list[Any] = [*found[1:WIDTH], *DEFAULTS[len(found) :]]
    for value, allowed in zip(values, _ALLOWED, strict=True):
        if type(value) not in allowed:
            raise Unusable("format")
    tokens = TokenCounts(*[values[place] for place in _BUCKETS])
    return _build(tokens=tokens, **{name: values[place] for name, place in _ARGUMENTS})


def started_ms(line: bytes) -> int:
    """Give when the unit of work of a line that begins with :data:`PREFIX` began, unparsed.

    :raises ValueError: if there is no number.
    """
    return int(line[len(PREFIX) : line.find(b",", len(PREFIX))])
