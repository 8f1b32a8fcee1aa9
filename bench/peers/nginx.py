"""nginx of the system: one process, keep-alive to the upstream, one key."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path
from typing import Callable

from attrs import define

from ..harness import Failed, Nginx
from .server import Place, Recipe

_CONFIG = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit; worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; tcp_nodelay on;
  client_max_body_size 64m; client_body_buffer_size 2m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map_hash_bucket_size 256;
  map $http_authorization $known {{ default 0; "Bearer {key}" 1; }}
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      if ($known = 0) {{ return 401; }}
      proxy_pass http://mock; proxy_http_version 1.1; proxy_next_upstream off;
      proxy_set_header Connection ""; proxy_set_header Authorization "Bearer sk-upstream";
    }}
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
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        (place.folder / "nginx.conf").write_text(
            _CONFIG.format(
                folder=place.folder,
                files=files,
                connections=min(files, 20000),
                mock=place.mock_port,
                port=place.port,
                key=place.key,
            )
        )
        words = ("-p", str(place.folder), "-e", str(place.folder / "error.log"))
        return Recipe((self.program, *words, "-c", str(place.folder / "nginx.conf")))

    def key_of(self, place: Place, log: Path) -> str | None:
        """Give the key of the configuration."""
        return place.key
