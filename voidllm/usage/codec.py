"""Journal lines: a usage event to bytes and back, so that damage is seen and never believed.

A line is eight lower-case hex digits of the CRC-32C (RFC 3720 appendix B.4) of what follows
the blank, a blank, the event as :mod:`voidllm.core.usage_line` writes it, and a newline.

The way from the journal to a store does not parse events: :func:`scan_lines` checks length, checksum
and version of each line, and a store takes the bytes as they are. What is inside them is
:func:`decode`'s to judge, which is for rebuilding counts and for lines that a store refused.
"""

from __future__ import annotations

import re

import google_crc32c
from attrs import frozen

from voidllm.core.usage import UsageEvent
from voidllm.core.usage_line import PREFIX, Unusable, decode_line, encode_line

#: A longer line is damage: ids and names are bounded, so a real one stays far below.
MAX_LINE = 65536

#: Before the event: the checksum and the blank.
HEAD = 9

_crc = google_crc32c.value
_RESUME = re.compile(rb"[0-9a-f]{8} \[")


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
class Scanned:
    """What a piece of a segment holds, with no event looked into.

    :ivar lines: the events as in the journal, each without its checksum and newline.
    :ivar ends: for each of them, the offset just behind its newline, from the start of the data.
    :ivar consumed: how many bytes are dealt with; what is left is one unfinished line.
    """

    lines: list[bytes]
    ends: list[int]
    consumed: int
    problems: list[Damage]


@frozen
class Decoded:
    """What a piece of a segment holds.

    :ivar consumed: how many bytes are dealt with; what is left is one unfinished line.
    """

    records: list[Record]
    consumed: int
    problems: list[Damage]


def encode(event: UsageEvent) -> bytes:
    """Give the journal line of ``event``, newline included."""
    return seal(encode_line(event))


def seal(line: bytes) -> bytes:
    """Give an event's bytes as they stand in the journal: behind their checksum, with a newline."""
    return b"%08x %b\n" % (_crc(line), line)


def scan_lines(data: bytes) -> Scanned:
    """Take every complete line of ``data`` whose checksum and version are right; never raises.

    A damaged line is reported and skipped. If a sound line is glued to the end of a damaged
    one, as after a write that stopped half-way, the sound one is still taken.
    """
    lines: list[bytes] = []
    ends: list[int] = []
    problems: list[Damage] = []
    start = 0
    pieces = data.split(b"\n")
    rest = pieces.pop()
    for piece in pieces:
        end = start + len(piece) + 1
        line = piece[HEAD:]
        if piece[:HEAD] == b"%08x " % _crc(line) and line.startswith(PREFIX) and len(piece) <= MAX_LINE:
            lines.append(line)
            ends.append(end)
        elif (found := _explain(piece, start, problems)) is not None:
            lines.append(found)
            ends.append(end)
        start = end
    if len(rest) > MAX_LINE:
        # No writer makes such a line; waiting for its newline would stop the segment for ever.
        problems.append(Damage(start, len(rest), "checksum"))
        start = len(data)
    return Scanned(lines, ends, start, problems)


def decode(data: bytes) -> Decoded:
    """Read every complete line of ``data`` as :func:`scan_lines` does, and each event; never raises."""
    scanned = scan_lines(data)
    records: list[Record] = []
    problems = scanned.problems
    for line, end in zip(scanned.lines, scanned.ends, strict=True):
        try:
            records.append(Record(decode_line(line), end))
        except Unusable as problem:
            length = HEAD + len(line) + 1
            problems.append(Damage(end - length, length, problem.reason))
    problems.sort(key=_offset)
    return Decoded(records, scanned.consumed, problems)


def decode_lines(data: bytes) -> tuple[list[UsageEvent], int, list[Damage]]:
    """Give the events of ``data``, how many bytes are dealt with, and what was damaged."""
    decoded = decode(data)
    return [record.event for record in decoded.records], decoded.consumed, decoded.problems


def _offset(damage: Damage) -> int:
    return damage.offset


def _explain(piece: bytes, start: int, problems: list[Damage]) -> bytes | None:
    """Note what is wrong with ``piece``, and give the sound line that may be glued to its end."""
    length = len(piece) + 1
    if _sound(piece):
        problems.append(Damage(start, length, _reason(piece[HEAD:])))
        return None
    for match in _RESUME.finditer(piece, 1):
        rest = piece[match.start() :]
        if _sound(rest) and rest.startswith(PREFIX, HEAD):
            problems.append(Damage(start, match.start(), "checksum"))
            return rest[HEAD:]
    problems.append(Damage(start, length, "checksum"))
    return None


def _sound(piece: bytes) -> bool:
    return len(piece) <= MAX_LINE and piece[:HEAD] == b"%08x " % _crc(piece[HEAD:])


def _reason(line: bytes) -> str:
    try:
        decode_line(line)
    except Unusable as problem:
        return problem.reason
    # Readable, but not written as this version writes.
    return "format"
