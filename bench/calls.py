"""How many system calls a request costs a real gateway: counted under ``strace``, not sampled.

Where nobody may trace, a library that is preloaded into the gateway counts instead; of a request both
show the same. What the interpreter does for its own lock (``futex``) is left out. A request is known by
the number of bytes that were read: the memory of a gateway is not for a tracer to read.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import mode
from typing import Sequence

from attrs import define, frozen

from .gateway import Gateway
from .harness import Failed, Mock, children
from .subjects import chat_body

SERIAL = 200
CONNECTIONS = 64
ROUNDS = 12
_WARM = 40
_BODY = chat_body(1030)
_BEGUN = re.compile(r"^(\d+) +([a-z_0-9]+)\(")
_READ = re.compile(r"^(\d+) +(?:<\.\.\. )?(?:recvfrom|recvmsg|recv|read)\b.* = (\d+)$")
_REPLY_S = 20.0
_SHIM = Path(__file__).with_name("native") / "calls.c"


@frozen
class Calls:
    """What was counted.

    :ivar way: how, for people.
    :ivar serial: calls of a request of one connection that waits for each reply, by name.
    :ivar many: calls a request when 64 connections ask at once, by name, as a rule.
    """

    way: str
    serial: dict[str, int]
    many: dict[str, float]


def tracer() -> str:
    """Give the path of a ``strace`` that may trace.

    :raises Failed: there is none, or this machine forbids it; the text says so.
    """
    found = shutil.which("strace")
    if found is None:
        raise Failed("strace is not installed (apt install strace)")
    command = [found, "-f", "-o", os.devnull, "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise Failed(f"strace may not trace on this machine ({tried.stderr.strip()[:200]})")
    return found


def shim(folder: Path) -> Path:
    """Compile what counts calls from within, for where ``strace`` is of no use.

    :raises Failed: it cannot be compiled.
    """
    target = folder / "calls.so"
    compiler = shutil.which("cc")
    if compiler is None:
        raise Failed("there is no C compiler either (apt install gcc libc6-dev)")
    command = [compiler, "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(target), str(_SHIM), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"cc failed for {_SHIM.name}:\n{done.stderr}")
    return target


@define
class Traced(Gateway):
    """A gateway that tells its system calls.

    :ivar traced: whether by ``strace``.
    """

    traced: bool = True

    @property
    def trace(self) -> Path:
        """What it called, a line each."""
        return self.folder / "calls.txt"

    def observe(self, prefer: str | None) -> str:
        """Choose how it is started; give the name of the way, and why if it is not ``strace``.

        :param prefer: ``preload`` not to use ``strace`` though it may be.
        :raises Failed: there is no way on this machine.
        """
        why = "asked for"
        try:
            if prefer != "preload":
                options = ("-f", "-qq", "-s", "0", "-e", "trace=!futex", "-o", str(self.trace))
                self.before = (tracer(), *options)
                return "strace"
        except Failed as error:
            why = str(error)
        try:
            library = shim(self.folder)
        except Failed as error:
            raise Failed(f"system calls cannot be counted: {why}; {error}") from None
        self.traced = False
        self.before = ("env", f"LD_PRELOAD={library}", f"VOIDLLM_CALLS={self.trace}")
        return f"a preloaded library, because: {why}"

    def stop(self) -> None:
        """End it; a tracer takes no signals, and ends with what it traces."""
        if self.pid is not None and self._process is not None:
            for pid in children(self.pid) if self.traced else [self.pid]:
                os.kill(pid, signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                for pid in self.pids()[::-1]:
                    os.kill(pid, signal.SIGKILL)
                self._process.wait()
        self._process = None
        self.pid = None


def windows(trace: Sequence[str], size: int) -> list[Counter[str]]:
    """Cut a trace where a request of ``size`` bytes was read, and count the calls of each part.

    What is before the first request is left out, and so are other threads than the one that reads:
    they have work of their own at their own times.
    """
    found: list[Counter[str]] = []
    reader = ""
    for line in trace:
        read = _READ.match(line)
        if read and int(read[2]) == size:
            reader = read[1]
            found.append(Counter())
        begun = _BEGUN.match(line)
        if begun and begun[1] == reader:
            found[-1][begun[2]] += 1
    return found


def count(prefer: str | None = None) -> Calls:
    """Start mock and gateway, ask, and count.

    :param prefer: see :meth:`Traced.observe`.
    :raises Failed: it cannot be counted here; the text says why.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mock = Mock(folder)
        gateway: Traced | None = None
        try:
            mock.start(delay_us=1000)
            gateway = Traced(folder / "gateway", mock.port)
            gateway.folder.mkdir()
            way = gateway.observe(prefer)
            gateway.start(_BODY)
            return _count(gateway, way)
        finally:
            if gateway is not None:
                gateway.stop()
            mock.stop()


def _count(gateway: Traced, way: str) -> Calls:
    raw = _request(gateway)
    with socket.create_connection(("127.0.0.1", gateway.port), _REPLY_S) as one:
        for _ in range(_WARM + SERIAL):
            one.sendall(raw)
            _reply(one)
    connections = [
        socket.create_connection(("127.0.0.1", gateway.port), _REPLY_S) for _ in range(CONNECTIONS)
    ]
    try:
        for _ in range(ROUNDS + 2):
            for each in connections:
                each.sendall(raw)
            for each in connections:
                _reply(each)
    finally:
        for each in connections:
            each.close()
    found = _traced(gateway, len(raw), _WARM + SERIAL + CONNECTIONS * (ROUNDS + 2))
    # The last of a kind is left out: what follows it is not its own.
    serial = found[_WARM : _WARM + SERIAL - 1]
    usual = dict(mode(frozenset(one.items()) for one in serial))
    many = found[_WARM + SERIAL + CONNECTIONS : -CONNECTIONS]
    rounds = [sum(many[n : n + CONNECTIONS], Counter()) for n in range(0, len(many), CONNECTIONS)]
    middle = sorted(rounds, key=Counter.total)[len(rounds) // 2]
    return Calls(way, usual, {name: number / CONNECTIONS for name, number in middle.items()})


def _traced(gateway: Traced, size: int, requests: int) -> list[Counter[str]]:
    """Wait until a trace shows so many requests, and give the last ones; the tracer is a little late."""
    until = time.monotonic() + 5
    while True:
        found = windows(gateway.trace.read_text(errors="replace").splitlines(), size)
        if len(found) >= requests:
            return found[-requests:]
        if time.monotonic() > until:
            raise Failed(f"the trace shows {len(found)} requests of {requests}")
        time.sleep(0.05)


def _request(gateway: Gateway) -> bytes:
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in gateway.headers.items())
    return f"{head}Content-Length: {len(_BODY)}\r\n\r\n".encode("ascii") + _BODY


def _reply(connection: socket.socket) -> None:
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if not head.startswith(b"HTTP/1.1 200 ") or length is None:
                raise Failed(f"the gateway answers {head[:40]!r}")
            if len(body) >= int(length[1]):
                return
        more = connection.recv(65536)
        if not more:
            raise Failed("the gateway closes the connection")
        data += more
