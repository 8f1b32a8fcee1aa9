"""What a connection without work, and a stream, cost in memory."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack
from random import Random
from typing import Mapping

from . import generator
from .gateway import Gateway
from .harness import Failed, rss_mb
from .rig import Rig
from .sampler import Sampler
from .schedules import Leg, draw
from .subjects import LLM, SMALL, chat_body

_AT_ONCE = 50


def idle_connections(gateway: Gateway, count: int) -> tuple[float, int]:
    """Open connections that each had one request served, and keep them.

    :returns: KB a connection, and how many were held.
    :raises Failed: one was not served.
    """
    room = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room[1], room[1]))
    count = min(count, room[1] - 200)
    request = _request(gateway.port, gateway.headers)
    before = rss_mb(gateway.pid or 0)
    try:
        with ExitStack() as stack:
            for start in range(0, count, _AT_ONCE):
                some = [
                    stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 10))
                    for _ in range(min(_AT_ONCE, count - start))
                ]
                for sock in some:
                    sock.sendall(request)
                for sock in some:
                    if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
                        raise Failed("a connection that should stay idle was not served")
            time.sleep(1)
            after = rss_mb(gateway.pid or 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, room)
    return max(0.0, after - before) * 1024 / count, count


def _request(port: int, headers: Mapping[str, str]) -> bytes:
    body = chat_body(SMALL)
    lines = [
        f"POST {LLM.gateway_path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def open_streams(rig: Rig, count: int) -> tuple[float, int]:
    """Hold streams with an event a second.

    :returns: KB a stream, and how many were held at once.
    """
    ramp, life = 2.0, 6
    rig.mock.configure(events=life, interval_us=1_000_000)
    side = rig.proxied()
    sampler = Sampler(lambda: rig.gateway.pid, rig.metrics, every_s=0.2)
    before = rig.rss_mb()
    sampler.start()
    try:
        run = generator.run(
            generator.Job(
                port=side.port,
                body=chat_body(400, stream=True),
                arrivals=draw((Leg("ramp", ramp, count / ramp),), Random(1)).arrivals,
                path=side.path_of(LLM) or "",
                headers=side.headers,
                connections=count,
                stream=True,
                events=life,
            )
        )
    finally:
        sampler.stop()
    most = max(sample.rss_mb for sample in sampler.samples)
    return max(0.0, most - before) * 1024 / max(1, run.held), run.held
