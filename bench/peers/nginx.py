"""nginx of the system: one process, keep-alive to the upstream, one key."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable

from attrs import define

from ..harness import Failed, Nginx, nginx_command
from .server import Place, Recipe

_SERVER = """\
  map_hash_bucket_size 256;
  map $http_authorization $known {{ default 0; "Bearer {key}" 1; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      if ($known = 0) {{ return 401; }}
      proxy_pass http://mock; proxy_http_version 1.1; proxy_next_upstream off;
      proxy_set_header Connection ""; proxy_set_header Authorization "Bearer sk-upstream";
    }}
  }}
"""


@define
class NginxPeer:
    """What a proxy costs that looks at the key and at nothing else."""

    name: str = "nginx"
    version: str = ""
    usage_rows: bool = False
    notes: tuple[str, ...] = (
        "one process; checks one key (map on the Authorization header); does not read the body",
        "access log off, retries off",
    )
    program: str = ""

    def prepare(self, say: Callable[[str], None]) -> None:
        """Find it."""
        found = Nginx.find()
        if found is None:
            raise Failed("nginx is not installed: apt install nginx-light")
        self.program = found
        told = subprocess.run([found, "-v"], capture_output=True, text=True, check=False).stderr
        self.version = told.strip().rpartition("/")[2]

    def recipe(self, place: Place) -> Recipe:
        """Write ``nginx.conf``."""
        servers = _SERVER.format(port=place.port, key=place.key)
        return Recipe(nginx_command(self.program, place.folder, place.mock_port, servers))

    def key_of(self, place: Place, log: Path) -> str | None:
        """Give the key of the configuration."""
        return place.key
