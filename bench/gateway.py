"""The gateway under test: its own configuration and state in a temporary folder."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from attrs import define, field

from .harness import (
    ROOT,
    SERVER_CORE,
    Failed,
    end_of,
    family,
    free_port,
    must_be_free,
    spawn,
    stop,
    venv_program,
    wait_until_served,
)
from .pauses import watched
from .subjects import MODEL

_CONFIG = """\
state_dir: {state}
server:
  proxy:
    port: {port}
upstream:
  engine: {engine}
models:
  - name: {model}
    provider: custom
    base_url: http://127.0.0.1:{mock}/v1
    api_key: sk-upstream
    upstream_model: mock
    pricing:
      input_per_1m: 2.5
      output_per_1m: 10
{more}"""

#: Far above what is sent (requests a minute and a day, tokens a minute, day and month): the limiter
#: counts every request and refuses none.
_LIMITS = (10**8, 10**10, 10**12, 10**13, 10**14)
_SET_LIMITS = (
    "INSERT OR REPLACE INTO scope_limits (scope_kind, scope_id, requests_per_minute, requests_per_day,"
    " tokens_per_minute, tokens_per_day, tokens_per_month) SELECT '{kind}', id, ?, ?, ?, ?, ? FROM {table}"
)


@define
class Gateway:
    """``twistd -n voidllm`` with everything on: keys, limits, prices, usage journal.

    :ivar engine: ``upstream.engine``.
    :ivar port: where it listens; 0 for a free one, which stays the same over restarts.
    :ivar workers: ``server.workers``; ``None`` leaves the setting out.
    :ivar pid: of the process that was started; workers are its children.
    :ivar before: words before the command, of a program that runs it.
    :ivar watch: folder in which its processes note pauses, see :mod:`.pauses`.
    """

    folder: Path
    mock_port: int
    engine: str = "auto"
    name: str = "gateway"
    port: int = 0
    workers: str | None = None
    stream_port: int = 0
    pid: int | None = None
    headers: dict[str, str] = field(factory=dict)
    before: tuple[str, ...] = ()
    watch: Path | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        """The gateway's state folder."""
        return self.folder / "state"

    @property
    def config(self) -> Path:
        """The gateway's configuration file."""
        return self.folder / "voidllm.yaml"

    @property
    def log(self) -> Path:
        """What the gateway says."""
        return self.folder / "gateway.log"

    def pids(self) -> tuple[int, ...]:
        """Give all of its processes."""
        return tuple(family(self.pid)) if self.pid is not None else ()

    def worker_pids(self) -> list[int]:
        """Give its workers, whatever other children it has."""
        found = []
        for pid in self.pids()[1:]:
            try:
                if b"voidllm.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
            except OSError:
                continue
        return found

    def write_config(self) -> None:
        """Write the configuration.

        :raises Failed: somebody else listens on the port.
        """
        self.folder.mkdir(exist_ok=True)
        if not self.port:
            self.port = free_port()
        must_be_free(self.port)
        self.stream_port = self.port
        self.config.write_text(
            _CONFIG.format(
                state=self.state,
                port=self.port,
                engine=self.engine,
                model=MODEL,
                mock=self.mock_port,
                more="" if self.workers is None else f"workers: {self.workers}\n",
            )
        )

    def start(self, body: bytes) -> float:
        """Start it and give the seconds until the first request was served."""
        self.write_config()
        listen = f"tcp:{self.port}:interface=127.0.0.1:backlog=4096"
        command = [venv_program("twistd"), "-n", "--pidfile=", "voidllm", "--config", str(self.config)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        # An installed gateway's modules are compiled; here the first start does that, not each.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        if self.watch is not None:
            environ |= watched(self.watch, environ["PYTHONPATH"])
        begun = time.perf_counter()
        self._process = spawn(
            [*self.before, *command, "--listen", listen], SERVER_CORE, self.log, cwd=self.folder, env=environ
        )
        self.pid = self._process.pid
        if not self.headers:
            self._wait_for_credentials()
        wait_until_served(self, self._process, body, self.log)
        return time.perf_counter() - begun

    def _wait_for_credentials(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            try:
                found = json.loads((self.state / "first-credentials.json").read_text())
                self.headers = {"Authorization": "Bearer " + found["api_key"]}
                return
            except (OSError, ValueError, KeyError):
                time.sleep(0.002)
        raise Failed(f"no first-credentials.json; the log ends:\n{end_of(self.log)}")

    def worker_starts_s(self) -> list[float]:
        """Give how long each worker that there was needed until it answered, as the log says."""
        found = re.findall(r"worker \d+ answers ([\d.]+) s after its start", self.log.read_text())
        return [float(seconds) for seconds in found]

    def wait_for_worker(self, known: int) -> None:
        """Wait until more workers than ``known`` have ever answered.

        :raises Failed: none did.
        """
        until = time.monotonic() + 30
        while len(self.worker_starts_s()) <= known:
            if time.monotonic() > until:
                raise Failed("a killed worker had no successor within 30 s")
            time.sleep(0.02)

    def start_with_limits(self, body: bytes) -> tuple[float, float]:
        """Start it, give key and organisation limits, start it again.

        :returns: seconds to the first request served on an empty and on an existing store.
        :raises Failed: the limits cannot be written: figures without them would be of another gateway.
        """
        first = self.start(body)
        self.stop()
        self.limit_all()
        return first, self.start(body)

    def admin_key(self) -> str:
        """Make a key that may change things.

        :raises Failed: with what the command said.
        """
        command = [venv_program("voidllm"), "keys", "create", "-q", "--name", "bench"]
        for scope in ("inference", "admin:read", "admin:write"):
            command += ["--scope", scope]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "VOIDLLM_CONFIG": str(self.config)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise Failed(f"no key for an administrator: {done.stderr.strip()}")
        return done.stdout.strip()

    def limit_all(self) -> None:
        """Give every key and organisation limits, with the gateway stopped.

        Written into the store directly, so that the figures do not depend on the admin face.

        :raises Failed: there is no store that takes them.
        """
        for file in sorted(self.state.glob("*")):
            if not file.is_file() or file.read_bytes()[:15] != b"SQLite format 3":
                continue
            with closing(sqlite3.connect(file)) as db:
                try:
                    with db:
                        for kind, table in (("key", "api_keys"), ("org", "organizations")):
                            db.execute(_SET_LIMITS.format(kind=kind, table=table), _LIMITS)
                    return
                except sqlite3.Error as error:
                    raise Failed(f"no limits on the key: {file.name}: {error}") from error
        raise Failed("no limits on the key: no SQLite file in the state folder")

    def stop(self) -> None:
        """End it; drain is short because nothing is in flight."""
        stop(self._process)
        self._process = None
        self.pid = None
