"""The gateway under test: its own configuration and state in a temporary folder."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
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

#: Far above what is sent: the limiter counts every request and refuses none.
_LIMITS = {
    "requests-per-minute": 100_000_000,
    "requests-per-day": 10_000_000_000,
    "tokens-per-minute": 1_000_000_000_000,
    "tokens-per-day": 10_000_000_000_000,
    "tokens-per-month": 100_000_000_000_000,
}


@define
class Gateway:
    """``twistd -n voidllm`` with everything on: keys, limits, prices, usage journal.

    :ivar command: another command line instead, with ``{config}``, ``{port}``, ``{mock_port}`` and
        ``{state_dir}``; for plumbing and for peers.
    :ivar engine: ``upstream.engine``.
    :ivar limited: whether the key has limits, so that the limiter works.
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
    limited: bool = False
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

    def use_limited_key(self) -> str:
        """Make a key with limits, so that the limiter has work; give a note when that fails."""
        if self.command is not None:
            return "own command: no key made"
        options = [f"--{name}={value}" for name, value in _LIMITS.items()]
        command = [venv_program("voidllm"), "keys", "create", "--config", str(self.config), "--json"]
        try:
            done = subprocess.run(
                [*command, "--name", "bench", *options],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            made = json.loads(done.stdout) if done.returncode == 0 else {}
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return f"keys create failed: {type(error).__name__}"
        key = made.get("key") or made.get("api_key")
        if not key:
            return "keys create failed: " + done.stderr.strip()[-300:]
        self.headers = {"Authorization": f"Bearer {key}"}
        self.limited = True
        return ""

    def stop(self) -> None:
        """End it; drain is short because nothing is in flight."""
        stop(self._process)
        self._process = None
