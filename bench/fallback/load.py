"""The load generator of ``native/load.c``, its modes ``schedule`` and ``closed``, with the same options
and results: ``python -m bench.fallback.load``.

It first finds out what it can drive (``capacity_rps``): beyond that its figures are its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .client import Request
from .loops import Closed, Schedule
from .mock import Mock
from .usage import Watch
from .wire import prepare

_NAMES = ("ok", "connect", "status", "length", "body", "cut", "protocol", "timeout", "lost")


def capacity_rps(request: bytes) -> float:
    """Measure how many such requests a second this program can send and judge with a core of its own."""
    mock, parent = Mock(delay_us=0, events=0, interval_us=0, reply_bytes=0), os.getpid()
    port = mock.listen(0)
    child = os.fork()
    if not child:
        prepare()
        if os.getppid() == parent:
            mock.serve()
        os._exit(1)
    try:
        mock.close()
        loop, watch = Closed(Request(port, request, False), 8), Watch(())
        loop.run(watch, 0.05, 0.2)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    spent = watch.told()["cpu_s"]
    assert isinstance(spent, float)
    return len(loop.latency) / spent if spent else 0.0


def _wire(told: Any) -> bytes:
    body = Path(told.body).read_bytes() if told.body else b'{"model":"mock","messages":[]}'
    headers = Path(told.headers).read_bytes() if told.headers else b""
    start = f"POST {told.path} HTTP/1.1\r\nHost: 127.0.0.1:{told.port}\r\nContent-Type: application/json\r\n"
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (start.encode("latin-1"), headers, len(body), body)


def _bytes(numbers: array[int]) -> bytes:
    if sys.byteorder != "little":
        numbers = array("Q", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _schedule(told: Any, request: Request, watch: Watch) -> dict[str, Any]:
    arrivals: array[int] = array("Q")
    arrivals.frombytes(Path(told.arrivals).read_bytes())
    if sys.byteorder != "little":
        arrivals.byteswap()
    loop = Schedule(request, told.connections, arrivals, told.skip, int(told.timeout * 1e9))
    loop.run(watch, bool(told.progress))
    if told.stream:
        loop.count_lost(told.events)
    if told.samples:
        skip = told.skip
        parts = (
            _bytes(loop.sent[skip:]),
            _bytes(loop.took[skip:]),
            loop.outcomes[skip:],
            loop.was_free[skip:],
        )
        Path(told.samples).write_bytes(b"".join((*parts, _bytes(loop.gaps))))
    return {
        "requests": len(arrivals) - told.skip,
        "seconds": loop.seconds,
        "events": loop.events,
        "events_lost": loop.events_lost,
        "gaps": len(loop.gaps),
        "held": loop.held_most,
        "reconnects": loop.reconnects,
        "reply_bytes": len(loop.learned or b""),
    }


def _closed(told: Any, request: Request, watch: Watch) -> dict[str, Any]:
    loop = Closed(request, told.connections)
    loop.run(watch, told.warmup, told.seconds)
    if told.samples:
        Path(told.samples).write_bytes(_bytes(loop.latency))
    return {
        "connections": told.connections,
        "seconds": told.seconds,
        "completed": len(loop.latency),
        "errors": {_NAMES[kind]: count for kind, count in loop.errors.items()},
        "reconnects": loop.reconnects,
        "reply_bytes": len(loop.learned or b""),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run once and print one line of JSON."""
    parser = argparse.ArgumentParser(prog="load", allow_abbrev=False)
    parser.add_argument("mode", choices=("schedule", "closed"))
    for name, kind, value in (
        ("port", int, None),
        ("path", str, "/v1/chat/completions"),
        ("body", str, ""),
        ("headers", str, ""),
        ("arrivals", str, ""),
        ("samples", str, ""),
        ("skip", int, 0),
        ("timeout", float, 30.0),
        ("stream", int, 0),
        ("events", int, 0),
        ("progress", int, 0),
        ("core", int, None),
        ("seconds", float, 5.0),
        ("warmup", float, 0.5),
        ("connections", int, 64),
    ):
        parser.add_argument("--" + name, type=kind, default=value, required=name == "port")
    parser.add_argument("--watch", action="append", type=int, default=[])
    told = parser.parse_args(arguments)
    if told.core is not None:
        os.sched_setaffinity(0, {told.core})
    prepare()
    wire = _wire(told)
    capacity = capacity_rps(wire)
    # A collection in the midst of a run would be lateness; the run makes no cycles to speak of.
    gc.freeze()
    gc.disable()
    watch = Watch(told.watch)
    run = _schedule if told.mode == "schedule" else _closed
    got = run(told, Request(told.port, wire, bool(told.stream)), watch)
    print(json.dumps({"mode": told.mode, **got, **watch.told(), "capacity_rps": capacity}))


if __name__ == "__main__":
    main()
