"""LiteLLM's proxy from the Python index, without a database: one key by its ``custom_auth``."""

from __future__ import annotations

from attrs import define

from .environments import IndexPeer
from .server import Place, Recipe

_AUTH = """\
from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth


async def user_api_key_auth(request, api_key):
    if api_key != "{key}":
        raise HTTPException(status_code=401, detail="wrong key")
    return UserAPIKeyAuth(api_key=api_key, user_id="u1", team_id="t1", max_budget=10**6, rpm_limit=10**8)
"""
_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/mock
      api_base: http://127.0.0.1:{mock}/v1
      api_key: sk-upstream
general_settings:
  master_key: sk-master-{key}
  custom_auth: auth_stub.user_api_key_auth
litellm_settings:
  num_retries: 0
  callbacks: []
  telemetry: false
"""
_ENVIRON = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "DISABLE_ADMIN_UI": "True",
}


@define
class LiteLLMPeer(IndexPeer):
    """One worker, as all servers here have one core."""

    name: str = "litellm"
    notes: tuple[str, ...] = (
        "one worker; no database, so one key by a custom_auth function and no usage rows",
        "retries off, callbacks off, production mode, log level ERROR",
    )

    def recipe(self, place: Place) -> Recipe:
        """Write its configuration and the key check."""
        (place.folder / "auth_stub.py").write_text(_AUTH.format(key=place.key))
        config = place.folder / "config.yaml"
        config.write_text(_CONFIG.format(model=place.model, mock=place.mock_port, key=place.key))
        words = (
            "--config",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(place.port),
            "--num_workers",
            "1",
        )
        return Recipe((str(self._bin / "litellm"), *words), _ENVIRON)
