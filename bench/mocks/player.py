"""How a reply is put on the wire, faults included: one generator, driven by a clock.

The generator yields seconds to wait, :data:`NOW` as a point where back pressure may hold it, or
:data:`FOREVER`.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from http import HTTPStatus
from typing import Protocol

from bench.mocks.faults import Faults
from bench.mocks.reply import Event, Reply, dump, error_value

FOREVER = -1.0
NOW = 0.0


class Wire(Protocol):
    """What a connection lets a reply do."""

    def write(self, data: bytes) -> None: ...
    def hang_up(self, *, reset: bool) -> None: ...
    def sent_event(self) -> None: ...


class HungUp(Exception):
    """The reply ended the connection itself."""


def encode(event: Event, faults: Faults) -> bytes:
    """Encode one event with the line ends and decorations that the faults ask for."""
    end = b"\r\n" if "crlf" in faults else b"\r" if "cr" in faults else b"\n"
    lines = [b": keep-alive"] if "comments" in faults else []
    if event.name:
        lines.append(b"event: " + event.name.encode())
    if "multiline" in faults and event.data.startswith(b"{"):
        lines += [b"data: {", b"data: " + event.data[1:]]
    else:
        lines.append(b"data: " + event.data)
    return end.join(lines) + end + end


def _head(reply: Reply, faults: Faults, framing: list[tuple[str, str]], request_id: str) -> bytes:
    version = "HTTP/1.0" if "http10" in faults else "HTTP/1.1"
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Overloaded" if reply.status == 529 else "Unknown"
    fields = [
        ("server", "mock"),
        ("content-type", reply.content_type),
        ("x-request-id", faults.text("reqid", default=request_id)),
        ("openai-processing-ms", "10"),
        *reply.headers,
        *framing,
    ]
    if "status" in faults and (after := faults.text("status", 1)):
        fields.append(("retry-after-ms", after[:-2]) if after.endswith("ms") else ("retry-after", after))
    if "ratelimit" in faults:
        fields += [
            ("x-ratelimit-limit-requests", "777"),
            ("x-ratelimit-remaining-requests", "3"),
            ("x-ratelimit-reset-requests", "9s"),
            ("x-ratelimit-limit-tokens", "88888"),
            ("x-ratelimit-remaining-tokens", "5"),
            ("retry-after", "4"),
            ("retry-after-ms", "3500"),
        ]
    if "disposition" in faults:
        fields.append(("content-disposition", 'attachment; filename="speech.mp3"'))
    if "cookie" in faults:
        fields.append(("set-cookie", "__cf_bm=upstream-secret; Path=/; HttpOnly"))
    if "redirect" in faults:
        fields.append(("location", "http://127.0.0.1:9/elsewhere"))
    if "bighead" in faults:
        fields.append(("x-big", "b" * faults.number("bighead", 65536)))
    if "keepalive" in faults:
        fields.append(("keep-alive", f"timeout={faults.number('keepalive', 5)}"))
    if "close" in faults:
        fields.append(("connection", "close"))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"{version} {reply.status} {phrase}\r\n{lines}\r\n".encode()


def _send(wire: Wire, data: bytes, faults: Faults) -> Iterator[float]:
    if "drip" in faults:
        size, wait = faults.number("drip", 1, 1), faults.number("drip", 1) / 1000
    elif "split" in faults:
        size, wait = faults.number("split", 1), 1e-9
    else:
        wire.write(data)
        yield NOW
        return
    for at in range(0, len(data), size):
        wire.write(data[at : at + size])
        yield wait


def _frame(data: bytes, chunked: bool) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if chunked else data


def play(
    wire: Wire, reply: Reply, faults: Faults, delay_s: float, interval_s: float, request_id: str
) -> Iterator[float]:
    """Put ``reply`` on ``wire``.

    :raises HungUp: after the connection was ended on purpose.
    """
    yield faults.number("delay") / 1000 if "delay" in faults else delay_s
    if "never" in faults:
        yield FOREVER
    if "drop" in faults or "droprst" in faults:
        wire.hang_up(reset="droprst" in faults)
        raise HungUp
    if "badhead" in faults:
        wire.write(b"\x15\x03\x01\x00\x02 this is not HTTP\r\n\r\n")
        wire.hang_up(reset=False)
        raise HungUp
    if "early" in faults:
        status = faults.number("early", 103)
        wire.write(b"HTTP/1.1 %d Interim\r\nlink: </x>; rel=preload\r\n\r\n" % status)
        yield 1e-9
    if "cuthead" in faults:
        wire.write(b"HTTP/1.1 200 OK\r\ncontent-type: appli")
        wire.hang_up(reset=False)
        raise HungUp
    if reply.events is None:
        yield from _play_body(wire, reply, faults, request_id)
    else:
        yield from _play_events(wire, reply, faults, interval_s, request_id)
    if "extra" in faults:
        wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\npoisoned")
    if any(kind in faults for kind in ("eof", "http10", "close", "closesilent")):
        wire.hang_up(reset=False)
        raise HungUp


def _play_body(wire: Wire, reply: Reply, faults: Faults, request_id: str) -> Iterator[float]:
    body = reply.body
    if "badchunk" in faults:
        body = body[: len(body) // 2] + b"\x00,,"
    framing: list[tuple[str, str]] = []
    if "gzip" in faults:
        body = gzip.compress(body, mtime=0)
        framing.append(("content-encoding", "gzip"))
    chunked = "chunked" in faults
    if chunked:
        framing.append(("transfer-encoding", "chunked"))
    elif "eof" not in faults and "http10" not in faults:
        framing.append(("content-length", str(len(body))))
    head = _head(reply, faults, framing, request_id)
    breaks = [kind for kind in ("stall", "cut", "reset") if kind in faults]
    if breaks:
        half = body[: len(body) // 2]
        wire.write(head + _frame(half, chunked))
        yield 1e-9
        yield from _break(wire, breaks[0])
    if chunked:
        yield from _send(wire, head, faults)
        for at in range(0, len(body), 1 << 14):
            yield from _send(wire, _frame(body[at : at + (1 << 14)], True), faults)
        yield from _send(wire, b"0\r\n\r\n", faults)
    else:
        yield from _send(wire, head + body, faults)


def _break(wire: Wire, kind: str) -> Iterator[float]:
    if kind == "stall":
        yield FOREVER
    wire.hang_up(reset=kind == "reset")
    raise HungUp


def _play_events(
    wire: Wire, reply: Reply, faults: Faults, interval_s: float, request_id: str
) -> Iterator[float]:
    chunked = "eof" not in faults and "http10" not in faults
    framing = [("cache-control", "no-cache")] + ([("transfer-encoding", "chunked")] if chunked else [])
    yield from _send(wire, _head(reply, faults, framing, request_id), faults)
    if "first" in faults:
        yield faults.number("first") / 1000
    interval = faults.number("interval") / 1000 if "interval" in faults else interval_s
    events = list(reply.events or ())
    if "hugeline" in faults:
        events.insert(1, Event(b'{"mock_padding":"' + b"x" * faults.number("hugeline", 1 << 20) + b'"}'))
    if "nodone" not in faults:
        events += reply.last
    breaks = {faults.number(kind): kind for kind in ("stall", "cut", "reset", "errorevent") if kind in faults}
    for index, event in enumerate(events):
        kind = breaks.get(index)
        if kind == "errorevent":
            error = Event(dump(error_value(500, "the mock failed on purpose", "mock_error")))
            yield from _send(wire, _frame(encode(error, faults), chunked), faults)
            break
        if kind is not None:
            yield 1e-9
            yield from _break(wire, kind)
        if "badchunk" in faults and index == faults.number("badchunk"):
            event = Event(event.data[: len(event.data) // 2], event.name)
        if "badframing" in faults and index == 1:
            wire.write(b"zz\r\nnot a chunk\r\n")
            yield FOREVER
        yield from _send(wire, _frame(encode(event, faults), chunked), faults)
        wire.sent_event()
        if interval:
            yield interval
    else:
        if (kind := breaks.get(len(events))) and kind != "errorevent":
            yield from _break(wire, kind)
    if chunked:
        yield from _send(wire, b"0\r\n\r\n", faults)
