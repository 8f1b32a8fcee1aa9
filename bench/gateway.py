"""The gateway under test: its own configuration and state in a temporary folder."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from attrs import define, field

from bench.harness import ROOT, SERVER_CORE, Failed, free_port, spawn, stop, venv_program, wait_until_served

MODEL = "bench"

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
"""

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

    :ivar command: another command line instead, with ``{config}``, ``{port}``, ``{mock_port}`` and
        ``{state_dir}``; for plumbing and for peers.
    :ivar engine: ``upstream.engine``.
    """

    folder: Path
    mock_port: int
    command: str | None = None
    engine: str = "auto"
    name: str = "gateway"
    port: int = 0
    stream_port: int = 0
    pid: int | None = None
    headers: dict[str, str] = field(factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        """The gateway's state folder."""
        return self.folder / "state"

    @property
    def config(self) -> Path:
        """The gateway's configuration file."""
        return self.folder / "voidllm.yaml"

    def write_config(self) -> None:
        """Write the configuration; the port stays the same over restarts."""
        self.folder.mkdir(exist_ok=True)
        if not self.port:
            self.port = self.stream_port = free_port()
        self.config.write_text(
            _CONFIG.format(
                state=self.state, port=self.port, engine=self.engine, model=MODEL, mock=self.mock_port
            )
        )

    def start(self, body: bytes) -> float:
        """Start it and give the seconds until the first request was served."""
        self.write_config()
        log = self.folder / "gateway.log"
        if self.command is None:
            listen = f"tcp:{self.port}:interface=127.0.0.1:backlog=4096"
            command = [venv_program("twistd"), "-n", "--pidfile=", "voidllm", "--config", str(self.config)]
            command += ["--listen", listen]
        else:
            values = {
                "config": self.config,
                "port": self.port,
                "mock_port": self.mock_port,
                "state_dir": self.state,
            }
            command = shlex.split(self.command.format(**values))
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        begun = time.perf_counter()
        self._process = spawn(command, SERVER_CORE, log, cwd=self.folder, env=environ)
        self.pid = self._process.pid
        if self.command is None and not self.headers:
            self._wait_for_credentials(log)
        wait_until_served(self, self._process, body, log)
        return time.perf_counter() - begun

    def _wait_for_credentials(self, log: Path) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until and self._process is not None and self._process.poll() is None:
            try:
                found = json.loads((self.state / "first-credentials.json").read_text())
                self.headers = {"Authorization": "Bearer " + found["api_key"]}
                return
            except (OSError, ValueError, KeyError):
                time.sleep(0.002)
        raise Failed(f"no first-credentials.json; the log ends:\n{log.read_text(errors='replace')[-3000:]}")

    def limit_all(self) -> str:
        """Give every key and organisation limits, with the gateway stopped; give a note when that fails.

        Written into the store directly, so that the figures do not depend on the admin face.
        """
        if self.command is not None:
            return "another command is measured"
        for file in sorted(self.state.glob("*")):
            if not file.is_file() or file.read_bytes()[:15] != b"SQLite format 3":
                continue
            with closing(sqlite3.connect(file)) as db:
                try:
                    with db:
                        for kind, table in (("key", "api_keys"), ("org", "organizations")):
                            db.execute(_SET_LIMITS.format(kind=kind, table=table), _LIMITS)
                    return ""
                except sqlite3.Error as error:
                    return f"{file.name}: {error}"
        return "no SQLite file in the state folder"

    def stop(self) -> None:
        """End it; drain is short because nothing is in flight."""
        stop(self._process)
        self._process = None
