"""Processes under measurement: started on a core, ready when they answer, always stopped.

Load and mock share the first core that this process may use, the server under test has the last.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
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

import voidllm

from .programs import command as program

#: What a child's ``PYTHONPATH`` must hold to find the gateway.
ROOT = Path(voidllm.__file__).resolve().parent.parent
CORES = sorted(os.sched_getaffinity(0))
LOAD_CORE, SERVER_CORE = CORES[0], CORES[-1]


class Failed(Exception):
    """A measurement cannot be made; the text says why."""


def free_port() -> int:
    """Give a TCP port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def must_be_free(port: int) -> None:
    """Refuse a port that somebody listens on.

    :raises Failed: with a text for people.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            raise Failed(f"port {port} cannot be used: {error.strerror}") from error


def children(pid: int) -> list[int]:
    """Give the processes that a process has started itself."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(p) for p in (task / "children").read_text().split()]
    except (OSError, ValueError):
        pass
    return found


def family(pid: int) -> list[int]:
    """Give a process and its descendants."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children(one)
    return found


def rss_mb(pid: int) -> float:
    """Give resident memory of a process and its descendants, in MB (2^20)."""
    pages = 0
    for one in family(pid):
        try:
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except (OSError, ValueError):
            continue
    return pages * resource.getpagesize() / (1 << 20)


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def pin(cores: set[int]) -> Callable[[], None]:
    """Give a function that a child runs before it starts: its cores, all descriptors, no life after us."""

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        os.sched_setaffinity(0, cores)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    return prepare


def spawn(command: list[str], core: int, log: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start a process on one core, with as many descriptors as the hard limit allows.

    It has a session of its own: ``^C`` is for the suite, which ends what it started in order.
    """
    with log.open("ab") as out:
        # One thread starts children here, so what makes preexec_fn unsafe is absent.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=pin({core}),  # noqa: PLW1509
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
    """The mock; as a target it is the direct way.

    :ivar kind: ``c`` or ``python``.
    """

    folder: Path
    name: str = "direct"
    port: int = 0
    stream_port: int = 0
    pid: int | None = None
    headers: dict[str, str] = field(factory=dict)
    kind: str = "c"
    _process: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int | None:
        """The mock's process; ``pid`` is of what stands between, and here nothing does."""
        return self._process.pid if self._process else None

    def start(self, delay_us: int = 10_000) -> None:
        """Start it and learn its port."""
        log = self.folder / "mock.log"
        found = program("mock")
        self.kind = found.kind
        words = [*found.words, "--delay-us", str(delay_us)]
        self._process = spawn(words, LOAD_CORE, log, env=found.environ)
        for _ in range(500):
            words = log.read_text().split()
            if len(words) == 2:
                self.port = self.stream_port = int(words[1])
                return
            time.sleep(0.01)
        raise Failed(f"the mock does not start; it says:\n{log.read_text(errors='replace')[-2000:]}")

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
{servers}}}
"""
_FLOOR = """\
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
  server {{
    listen 127.0.0.1:{stream_port} backlog=4096;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; }}
  }}
"""


def nginx_command(program: str, folder: Path, mock_port: int, servers: str) -> tuple[str, ...]:
    """Write ``nginx.conf`` into a folder: one process, the mock as ``http://mock``; give the command.

    :param servers: what stands in ``http`` besides.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(
            folder=folder, files=files, connections=min(files, 20000), mock=mock_port, servers=servers
        )
    )
    return (program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config))


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
        servers = _FLOOR.format(port=self.port, stream_port=self.stream_port)
        command = nginx_command(program, self.folder, self.mock_port, servers)
        log = self.folder / "nginx.log"
        self._process = spawn([*command], SERVER_CORE, log)
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
    raise Failed(f"{target.name} does not serve ({last}); its log ends:\n{end_of(log)}")


def end_of(log: Path) -> str:
    """Give the last lines of a log, without the keys and passwords that a first start prints."""
    text = log.read_text(errors="replace")[-3000:]
    return re.sub(r"vl_[a-z]{2}_[0-9a-f]+|(?<=password)( +)\S+", "[hidden]", text)


def venv_program(name: str) -> str:
    """Give a program of the running interpreter's environment."""
    return str(Path(sys.executable).with_name(name))
