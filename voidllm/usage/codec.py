"""Journal lines: a usage event to bytes and back, so that damage is seen and never believed.

A line is eight lower-case hex digits of the CRC-32C (RFC 3720 appendix B.4) of what follows
the blank, a blank, one compact ASCII JSON object, and a newline. Readers ignore keys that they
do not know, so a field can be added without a new :data:`VERSION`.
"""

from __future__ import annotations

import re
from typing import Any, Callable

import google_crc32c
import ujson
from attrs import fields, frozen

from voidllm.core.usage import TokenCounts, UsageEvent

#: Grows only when older readers would misunderstand a line.
VERSION = 1

#: A longer line is damage: ids and names are bounded, so a real one stays far below.
MAX_LINE = 65536

_crc = google_crc32c.value
_dumps = ujson.dumps
_build: Callable[..., UsageEvent] = UsageEvent
_RESUME = re.compile(rb"[0-9a-f]{8} \{")

_INT: set[type] = {int}
_BUCKETS = len(fields(TokenCounts))
#: How a line's JSON types follow from the annotations of :class:`UsageEvent`.
_JSON_TYPES: dict[str, set[type]] = {
    "str": {str},
    "int": _INT,
    "bool": {bool},
    "str | None": {str, type(None)},
    "int | None": {int, type(None)},
}
#: Name, value where the line has none (written before the field was there), allowed types.
_FIELDS: tuple[tuple[str, Any, set[type]], ...] = tuple(
    (f.name, f.default, _JSON_TYPES[str(f.type)]) for f in fields(UsageEvent) if f.name != "tokens"
)
_BEFORE_TOKENS = [f.name for f in fields(UsageEvent)].index("tokens")


@frozen
class Record:
    """One decoded line.

    :ivar end: offset just behind the line's newline, from the start of the data.
    """

    event: UsageEvent
    end: int


@frozen
class Damage:
    """Bytes that hold no usable event.

    :ivar reason: ``checksum`` (broken bytes), ``format`` or ``version`` (sound bytes that this
        reader cannot use).
    """

    offset: int
    length: int
    reason: str


@frozen
class Decoded:
    """What a piece of a segment holds.

    :ivar consumed: how many bytes are dealt with; what is left is one unfinished line.
    """

    records: list[Record]
    consumed: int
    problems: list[Damage]


class _Unusable(ValueError):
    """A line whose checksum is right and whose object is not."""


def encode(event: UsageEvent) -> bytes:
    """Give the journal line of ``event``, newline included."""
    t = event.tokens
    # ASCII, so that a lone surrogate in a name cannot make a line that is not UTF-8.
    body = _dumps(
        {
            "v": VERSION,
            "id": event.id,
            "request_id": event.request_id,
            "started_ms": event.started_ms,
            "kind": event.kind,
            "endpoint": event.endpoint,
            "org_id": event.org_id,
            "key_id": event.key_id,
            "key_type": event.key_type,
            "status": event.status,
            "duration_ms": event.duration_ms,
            "model": event.model,
            "requested_model": event.requested_model,
            "deployment": event.deployment,
            "provider": event.provider,
            "team_id": event.team_id,
            "user_id": event.user_id,
            "service_account_id": event.service_account_id,
            "parent_id": event.parent_id,
            "error_code": event.error_code,
            "stream": event.stream,
            "tokens": (
                t.input,
                t.cache_read,
                t.cache_write,
                t.output,
                t.reasoning,
                t.audio_input,
                t.audio_output,
            ),
            "source": event.source,
            "cost_nano": event.cost_nano,
            "price_version": event.price_version,
            "ttft_ms": event.ttft_ms,
        },
        escape_forward_slashes=False,
        allow_nan=False,
    ).encode("ascii")
    return b"%08x %b\n" % (_crc(body), body)


def decode(data: bytes) -> Decoded:
    """Read every complete line of ``data``; never raises.

    A damaged line is reported and skipped. If a sound line is glued to the end of a damaged
    one, as after a write that stopped half-way, the sound one is still read.
    """
    records: list[Record] = []
    problems: list[Damage] = []
    start = 0
    while True:
        newline = data.find(b"\n", start)
        if newline < 0:
            break
        _decode_line(data[start:newline], start, records, problems)
        start = newline + 1
    if len(data) - start > MAX_LINE:
        # No writer makes such a line; waiting for its newline would stop the segment for ever.
        problems.append(Damage(start, len(data) - start, "checksum"))
        start = len(data)
    return Decoded(records, start, problems)


def decode_lines(data: bytes) -> tuple[list[UsageEvent], int, list[Damage]]:
    """Give the events of ``data``, how many bytes are dealt with, and what was damaged."""
    decoded = decode(data)
    return [record.event for record in decoded.records], decoded.consumed, decoded.problems


def _decode_line(line: bytes, start: int, records: list[Record], problems: list[Damage]) -> None:
    end = start + len(line) + 1
    if _sound(line):
        event, reason = _read(line)
        if event is None:
            problems.append(Damage(start, len(line) + 1, reason))
        else:
            records.append(Record(event, end))
        return
    for match in _RESUME.finditer(line, 1):
        rest = line[match.start() :]
        if _sound(rest):
            event, _ = _read(rest)
            if event is not None:
                problems.append(Damage(start, match.start(), "checksum"))
                records.append(Record(event, end))
                return
    problems.append(Damage(start, len(line) + 1, "checksum"))


def _sound(line: bytes) -> bool:
    return len(line) <= MAX_LINE and line[:9] == b"%08x " % _crc(line[9:])


def _read(line: bytes) -> tuple[UsageEvent | None, str]:
    try:
        found = ujson.loads(line[9:])
    except ValueError:
        return None, "format"
    if not isinstance(found, dict):
        return None, "format"
    if found.get("v") != VERSION:
        return None, "version"
    try:
        return _event(found), ""
    except _Unusable:
        return None, "format"


def _event(found: dict[str, Any]) -> UsageEvent:
    get = found.get
    tokens = get("tokens")
    if type(tokens) is not list or len(tokens) < _BUCKETS:
        raise _Unusable("tokens")
    values: list[Any] = []
    for name, default, allowed in _FIELDS:
        value = get(name, default)
        if type(value) not in allowed:
            raise _Unusable(name)
        values.append(value)
    buckets = tokens[:_BUCKETS]
    if set(map(type, buckets)) != _INT:
        raise _Unusable("tokens")
    return _build(*values[:_BEFORE_TOKENS], TokenCounts(*buckets), *values[_BEFORE_TOKENS:])
