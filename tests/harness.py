"""Starts the parts that tests talk to over real sockets: the gateway and a mock upstream.

Every process is started by its test, on a free port, and ended by its own handle.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Mapping

import yaml

ROOT = Path(__file__).resolve().parent.parent
_PATIENCE_S = 30.0


def free_port() -> int:
    """Find a TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(check: Any, what: str, patience_s: float = _PATIENCE_S) -> Any:
    """Poll ``check`` until it gives something true; real processes give no other signal."""
    deadline = time.monotonic() + patience_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience_s} s in vain for {what}")
        time.sleep(0.01)


def request(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> tuple[int, dict[str, str], bytes]:
    """Send one request on its own connection; gives status, lower-case headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body, dict(headers or {}))
        reply = connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
    finally:
        connection.close()


class MockLLM:
    """The mock upstream of ``bench/mocks`` in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "bench.mocks.llm", "--port", "0", *options]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if len(words) != 2:
            raise AssertionError("the mock upstream did not start")
        self.port = int(words[1].rsplit(b":", 1)[-1])

    @property
    def base_url(self) -> str:
        """What a deployment's ``base_url`` is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    def get(self, path: str) -> Any:
        """Ask the mock about itself."""
        status, _, body = request(self.port, "GET", path)
        assert status == 200, status
        return json.loads(body)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def custom_model(name: str, base_url: str, **more: Any) -> dict[str, Any]:
    """Describe a model with one custom upstream, as the configuration does."""
    return {"name": name, "provider": "custom", "base_url": base_url, "api_key": "sk-upstream", **more}


class Gateway:
    """``twistd -n voidllm`` in a process of its own, with its own folder.

    :param folder: holds configuration, state and log.
    :param models: entries of ``models``; the demo model is always there.
    :param settings: merged into the top level of the configuration.
    """

    def __init__(
        self, folder: str | Path, models: list[dict[str, Any]] | None = None, **settings: Any
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state_dir = self.folder / "state"
        self.log = self.folder / "gateway.log"
        self.config = self.folder / "voidllm.yaml"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(models, **settings)

    def configure(self, models: list[dict[str, Any]] | None = None, **settings: Any) -> None:
        """Write the configuration file."""
        value: dict[str, Any] = {
            "state_dir": str(self.state_dir),
            "server": {"proxy": {"host": "127.0.0.1", "port": self.port}},
            "database": {"driver": "sqlite", "dsn": str(self.state_dir / "voidllm.db")},
            "models": [{"name": "demo", "provider": "demo"}, *(models or [])],
        }
        for key, inner in settings.items():
            if isinstance(inner, dict) and isinstance(value.get(key), dict):
                value[key] = _merged(value[key], inner)
            else:
                value[key] = inner
        self.config.write_text(yaml.safe_dump(value))

    @property
    def base_url(self) -> str:
        """What an SDK's ``base_url`` is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def pid(self) -> int:
        """Process id of the running gateway."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def launch(self, env: Mapping[str, str] | None = None) -> Gateway:
        """Start the process, and do not wait for anything."""
        command = [
            str(Path(sys.executable).with_name("twistd")),
            "--nodaemon",
            "--pidfile=",
            "voidllm",
            "--config",
            str(self.config),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
            )
        return self

    def start(self, env: Mapping[str, str] | None = None, ready: Callable[[], bool] | None = None) -> Gateway:
        """Start and wait until it is ready.

        :param ready: another way to find out than asking for ``/readyz`` in plain text.
        """
        self.launch(env)
        return self.wait_ready(ready)

    def wait_ready(self, ready: Callable[[], bool] | None = None) -> Gateway:
        """Wait until the launched process is ready; a process that is not is ended.

        :raises AssertionError: with the end of its log.
        """
        try:
            wait_until(lambda: self._ready(ready), "the gateway to be ready")
        except AssertionError as e:
            self.kill()
            raise AssertionError(f"{e}; its log ends:\n{self.log.read_text()[-4000:]}") from None
        return self

    def _ready(self, ready: Callable[[], bool] | None) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the gateway exited with {self._process.returncode}")
        try:
            if ready is not None:
                return ready()
            return request(self.port, "GET", "/readyz", timeout_s=5)[0] == 200
        except OSError:
            return False

    def credentials(self) -> dict[str, str]:
        """Read what the first start wrote."""
        return dict(json.loads((self.state_dir / "first-credentials.json").read_text()))

    @property
    def key(self) -> str:
        """The first API key."""
        return self.credentials()["api_key"]

    def post(
        self, path: str, value: Any, headers: Mapping[str, str] | None = None, timeout_s: float = 30
    ) -> tuple[int, dict[str, str], bytes]:
        """Send JSON with the first key; gives status, headers and body."""
        given = {"authorization": f"Bearer {self.key}", "content-type": "application/json", **(headers or {})}
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return request(self.port, "POST", path, body, given, timeout_s)

    def chat(self, model: str = "demo", **more: Any) -> tuple[int, dict[str, str], bytes]:
        """Send one chat completion request."""
        message = {"role": "user", "content": "hello"}
        return self.post("/v1/chat/completions", {"model": model, "messages": [message], **more})

    def cli(self, *arguments: str, check: bool = True) -> str:
        """Run the ``voidllm`` command on this gateway's configuration; gives its output."""
        command = [str(Path(sys.executable).with_name("voidllm")), *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "VOIDLLM_CONFIG": str(self.config)},
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{arguments} exited with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def usage(self, group_by: str = "model,status") -> list[dict[str, Any]]:
        """Give the rows of ``voidllm usage``."""
        return list(json.loads(self.cli("usage", "--json", "--group-by", group_by))["data"])

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, patience_s: float = _PATIENCE_S) -> int:
        """Wait for the end of the process; gives its exit status."""
        assert self._process is not None
        return self._process.wait(patience_s)

    def stop(self) -> int:
        """End the process politely and wait for it."""
        if self._process is None or self._process.poll() is not None:
            return 0
        self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the gateway did not stop on SIGTERM") from None

    def kill(self) -> None:
        """End the process with SIGKILL."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    out = dict(old)
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = _merged(out[key], value)
        else:
            out[key] = value
    return out
