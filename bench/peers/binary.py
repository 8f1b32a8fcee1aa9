"""A VoidLLM binary built from Go: its configuration file, and the key that it prints at its first start."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
from pathlib import Path
from typing import Callable

from attrs import define, field

from ..harness import Failed
from .server import Place, Recipe

_CONFIG = """\
server:
  proxy:
    port: {port}
database:
  driver: sqlite
  dsn: {folder}/voidllm.db
models:
  - name: {model}
    provider: custom
    base_url: http://127.0.0.1:{mock}/v1
    api_key: sk-upstream
    pricing:
      input_per_1m: 2.5
      output_per_1m: 10
settings:
  admin_key: {admin}
  encryption_key: {encryption}
logging:
  level: warn
"""
_KEY = re.compile(r"vl_uk_[0-9a-f]{48}")


def _random() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


@define
class BinaryPeer:
    """A given program; its store is a file, as the gateway's is."""

    path: Path
    name: str = "voidllm-go"
    version: str = ""
    usage_rows: bool = True
    notes: tuple[str, ...] = (
        "SQLite store in a file; key, prices and usage rows on, no limits set",
        "one core by pinning; the Go runtime decides on its threads",
    )
    _admin: str = field(factory=_random)
    _encryption: str = field(factory=_random)

    def prepare(self, say: Callable[[str], None]) -> None:
        """See that it can be started."""
        if not self.path.is_file() or not os.access(self.path, os.X_OK):
            raise Failed(f"--peer-binary {self.path}: there is no program that can be run")
        self.path = self.path.resolve()
        try:
            done = subprocess.run(
                [self.path, "--version"], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(f"--peer-binary {self.path} cannot be run: {error}") from error
        line = done.stdout.strip().splitlines()
        self.version = line[0][:60] if line and not done.returncode else "unknown"

    def recipe(self, place: Place) -> Recipe:
        """Write its configuration."""
        config = place.folder / "voidllm.yaml"
        config.write_text(
            _CONFIG.format(
                folder=place.folder,
                port=place.port,
                mock=place.mock_port,
                model=place.model,
                admin=self._admin,
                encryption=self._encryption,
            )
        )
        return Recipe((str(self.path), "--config", str(config)))

    def key_of(self, place: Place, log: Path) -> str | None:
        """Give the key that it prints once, when its store is empty."""
        found = _KEY.search(log.read_text(errors="replace"))
        return found.group() if found else None
