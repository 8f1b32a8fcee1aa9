"""A peer as a server under test: started like the gateway, with a key that it must check."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from http.client import HTTPException
from pathlib import Path
from typing import Callable, Mapping, Protocol

from attrs import define, field, frozen

from ..harness import SERVER_CORE, Failed, family, free_port, post, spawn, stop, wait_until_served

#: The first start after an installation also compiles its modules.
_START_S = 120


@frozen
class Place:
    """Where a peer runs.

    :ivar folder: its own, for configuration, logs and state.
    :ivar port: where it is to listen on 127.0.0.1.
    :ivar mock_port: its upstream.
    :ivar key: the one client key that it is to accept.
    :ivar model: the name that clients ask for.
    """

    folder: Path
    port: int
    mock_port: int
    key: str
    model: str


@frozen
class Recipe:
    """How a peer is started; its environment is this one and nothing of the user's."""

    command: tuple[str, ...]
    environ: Mapping[str, str] = field(factory=dict)


class Peer(Protocol):
    """What differs from peer to peer.

    :ivar version: as it is measured; known after :meth:`prepare`.
    :ivar usage_rows: it writes a record of each request.
    :ivar notes: what to know when its figures are compared.
    """

    name: str
    version: str
    usage_rows: bool
    notes: tuple[str, ...]

    def prepare(self, say: Callable[[str], None]) -> None:
        """Install or find it.

        :raises Failed: with a text for people.
        """

    def recipe(self, place: Place) -> Recipe:
        """Write its configuration and give its command."""

    def key_of(self, place: Place, log: Path) -> str | None:
        """Give the key that clients use, ``None`` while it is not known yet."""


@define
class Server:
    """A peer that is started and stopped; to be used like :class:`~bench.gateway.Gateway`."""

    peer: Peer
    folder: Path
    mock_port: int
    model: str
    name: str = field()
    port: int = 0
    stream_port: int = 0
    pid: int | None = None
    headers: dict[str, str] = field(factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _key: str = field(factory=lambda: "sk-" + secrets.token_hex(24))

    @name.default
    def _name(self) -> str:
        return self.peer.name

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / "log"

    def pids(self) -> tuple[int, ...]:
        """Give all of its processes."""
        return tuple(family(self.pid)) if self.pid is not None else ()

    def start(self, body: bytes) -> float:
        """Start it and give the seconds until the first request was served.

        :raises Failed: it does not serve.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.port:
            self.port = self.stream_port = free_port()
        place = Place(self.folder, self.port, self.mock_port, self._key, self.model)
        recipe = self.peer.recipe(place)
        environ = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "NO_PROXY": "*",
            **recipe.environ,
        }
        self.log.write_bytes(b"")
        begun = time.perf_counter()
        self._process = spawn(list(recipe.command), SERVER_CORE, self.log, cwd=self.folder, env=environ)
        self.pid = self._process.pid
        self._wait_for_key(place)
        wait_until_served(self, self._process, body, self.log, timeout=_START_S)
        return time.perf_counter() - begun

    def _wait_for_key(self, place: Place) -> None:
        until = time.monotonic() + _START_S
        while not self.headers and self._process is not None and self._process.poll() is None:
            key = self.peer.key_of(place, self.log)
            if key is not None:
                self.headers = {"Authorization": f"Bearer {key}"}
            elif time.monotonic() > until:
                break
            else:
                time.sleep(0.002)
        if not self.headers:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise Failed(f"{self.name} does not start; its log ends:\n{tail}")

    def stop(self) -> None:
        """End it, and whatever it started."""
        left = self.pids()[1:]
        stop(self._process)
        for pid in left:
            # Only those that were its own: it led their session.
            try:
                if os.getsid(pid) == self.pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process = self.pid = None


class Contender(Protocol):
    """What is measured: a :class:`Server` or our own gateway."""

    port: int
    headers: dict[str, str]

    def start(self, body: bytes) -> float:
        """Start it and give the seconds until the first request was served."""

    def stop(self) -> None:
        """End it."""

    def pids(self) -> tuple[int, ...]:
        """Give all of its processes."""


def must_refuse(name: str, contender: Contender, body: bytes) -> None:
    """Ask with a wrong key and without one.

    :raises Failed: it answers, so its figures would be those of a server that checks nothing.
    """
    right = contender.headers["Authorization"]
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    for what, headers in (("a wrong key", {"Authorization": wrong}), ("no key", {})):
        try:
            status = post(contender.port, body, headers)
        except (OSError, HTTPException) as error:
            raise Failed(f"{name} closes the connection for {what}: {type(error).__name__}") from error
        if status not in (401, 403):
            raise Failed(f"{name} answers {what} with status {status} instead of 401 or 403")
