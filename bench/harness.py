"""Processes under measurement: started on a core, ready when they answer, always stopped.

Load and mock share the first core that this process may use, the server under test has the last.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field

from bench.native.build import build

ROOT = Path(__file__).resolve().parent.parent
CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, SERVER_CORE = CORES[0], CORES[-1]


class Failed(Exception):
    """A measurement cannot be made; the text says why."""


def free_port() -> int:
    """Give a TCP port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def rss_mb(pid: int) -> float:
    """Give resident memory of a process and its descendants, in MB (2^20)."""
    pages = 0
    todo = [pid]
    while todo:
        one = todo.pop()
        try:
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
            for task in Path(f"/proc/{one}/task").iterdir():
                todo += [int(p) for p in (task / "children").read_text().split()]
        except (OSError, ValueError):
            continue
    return pages * resource.getpagesize() / (1 << 20)


def pin(core: int) -> Callable[[], None]:
    """Give a function that a child runs before it starts: one core, all descriptors."""

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    return prepare


def spawn(command: list[str], core: int, log: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process on one core, with as many descriptors as the hard limit allows."""
    with log.open("ab") as out:
        # One thread starts children here, so what makes preexec_fn unsafe is absent.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=pin(core),  # noqa: PLW1509
            **options,
        )


def stop(process: subprocess.Popen[bytes] | None) -> None:
    """End a process that this one started: asked first, killed after 10 s."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def post(port: int, body: bytes, headers: dict[str, str], timeout: float = 5) -> int:
    """Send one chat request and give the status of its reply."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        all_headers = {"Content-Type": "application/json", **headers}
        connection.request("POST", "/v1/chat/completions", body, all_headers)
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()


class Target(Protocol):
    """What the generator can be pointed at.

    :ivar pid: the process whose CPU and memory count, ``None`` for none.
    """

    name: str
    port: int
    stream_port: int
    pid: int | None
    headers: dict[str, str]


@define
class Mock:
    """The C mock; as a target it is the direct way."""

    folder: Path
    name: str = "direct"
    port: int = 0
    stream_port: int = 0
    pid: int | None = None
    headers: dict[str, str] = field(factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self, delay_us: int = 10_000) -> None:
        """Start it and learn its port."""
        log = self.folder / "mock.log"
        self._process = spawn([str(build("mock")), "--delay-us", str(delay_us)], LOAD_CORE, log)
        for _ in range(500):
            words = log.read_text().split()
            if len(words) == 2:
                self.port = self.stream_port = int(words[1])
                return
            time.sleep(0.01)
        raise Failed("the C mock does not start")

    def configure(self, **settings: int) -> dict[str, Any]:
        """Change ``events``, ``interval_us``, ``delay_us``; give its counters."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/config?" + "&".join(f"{k}={v}" for k, v in settings.items()))
            got: dict[str, Any] = json.loads(connection.getresponse().read())
            return got
        finally:
            connection.close()

    def stop(self) -> None:
        """End it."""
        stop(self._process)


_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit; worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; tcp_nodelay on;
  client_max_body_size 64m; client_body_buffer_size 2m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
  server {{
    listen 127.0.0.1:{stream_port} backlog=4096;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; }}
  }}
}}
"""


@define
class Nginx:
    """nginx as the floor: one process, keep-alive upstream, no logic."""

    folder: Path
    mock_port: int
    name: str = "nginx"
    port: int = 0
    stream_port: int = 0
    pid: int | None = None
    headers: dict[str, str] = field(factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def find() -> str | None:
        """Give the program's path, ``None`` when it is not installed."""
        return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = self.find()
        if program is None:
            raise Failed("nginx is not installed")
        self.folder.mkdir(exist_ok=True)
        self.port, self.stream_port = free_port(), free_port()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        config = self.folder / "nginx.conf"
        config.write_text(
            _NGINX.format(
                folder=self.folder,
                files=files,
                connections=min(files, 20000),
                mock=self.mock_port,
                port=self.port,
                stream_port=self.stream_port,
            )
        )
        log = self.folder / "nginx.log"
        command = [program, "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", str(config)]
        self._process = spawn(command, SERVER_CORE, log)
        self.pid = self._process.pid
        wait_until_served(self, self._process, b"{}", log)

    def stop(self) -> None:
        """End it."""
        stop(self._process)


def wait_until_served(
    target: Target, process: subprocess.Popen[bytes], body: bytes, log: Path, timeout: float = 30
) -> None:
    """Poll until a request is answered with 200.

    :raises Failed: it ended, or did not answer in time; with the end of its log.
    """
    until = time.monotonic() + timeout
    last = "nothing"
    while time.monotonic() < until:
        if process.poll() is not None:
            last = f"exit status {process.returncode}"
            break
        try:
            status = post(target.port, body, target.headers)
            if status == 200:
                return
            last = f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            last = type(error).__name__
        time.sleep(0.002)
    tail = log.read_text(errors="replace")[-3000:]
    raise Failed(f"{target.name} does not serve ({last}); its log ends:\n{tail}")


def venv_program(name: str) -> str:
    """Give a program of the running interpreter's environment."""
    return str(Path(sys.executable).with_name(name))
