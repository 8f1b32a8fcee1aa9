"""lm-proxy from the Python index, with a virtual key of its configuration."""

from __future__ import annotations

from attrs import define

from .environments import IndexPeer
from .server import Place, Recipe

_CONFIG = """\
host = "127.0.0.1"
port = {port}

[connections.mock]
api_type = "open_ai"
api_base = "http://127.0.0.1:{mock}/v1/"
api_key = "sk-upstream"
init_params = {{ max_retries = 0 }}

[routing]
"{model}" = "mock.mock"

[groups.default]
api_keys = ["{key}"]
"""


@define
class LmProxyPeer(IndexPeer):
    """One process, which is all it has."""

    name: str = "lm-proxy"
    notes: tuple[str, ...] = (
        "one process; one virtual key in its configuration, no loggers configured, so no usage rows",
        "retries off; a few log lines a request, which its command cannot turn off, go to a file",
    )

    def recipe(self, place: Place) -> Recipe:
        """Write its configuration."""
        config = place.folder / "config.toml"
        values = {"port": place.port, "mock": place.mock_port, "model": place.model, "key": place.key}
        config.write_text(_CONFIG.format(**values))
        return Recipe((str(self._bin / "lm-proxy"), "--config", str(config)))
