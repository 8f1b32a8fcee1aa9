"""What a person reads at the first start."""

from __future__ import annotations

import json
import shlex

from voidllm.bootstrap import FirstCredentials
from voidllm.config import Config


def first_start(path: str) -> str:
    """Say what was made, and where its credentials are."""
    return f"First start: organisation, administrator and one API key were made; see {path}\n"


def welcome(first: FirstCredentials, path: str, config: Config, url: str | None) -> str:
    """Write the credentials and commands to paste.

    :param path: the file with the credentials.
    :param url: where the gateway listens, or ``None`` where a URL cannot say it.
    """
    text = (
        f"\n{first_start(path)}"
        f"  administrator  {first.admin_email}\n"
        f"  password       {first.admin_password}\n"
        f"  API key        {first.api_key}\n\n"
    )
    model = _model(config)
    if model is None:
        return text + "No chat model is configured yet: add one below models: in the configuration.\n\n"
    if url is None:
        return text
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    return (
        f'{text}Try it from another terminal; with "stream": true the answer comes word by word:\n'
        f"  curl -N {url}/v1/chat/completions \\\n"
        f"    -H 'Authorization: Bearer {first.api_key}' -H 'Content-Type: application/json' \\\n"
        f"    -d {shlex.quote(json.dumps(body))}\n\n"
    )


def _model(config: Config) -> str | None:
    """Choose a model: one that answers by itself, else the first for chat."""
    chat = [model for model in config.models if model.type == "chat"]
    by_itself = [model for model in chat if model.provider == "demo"]
    return next((model.name for model in (*by_itself, *chat)), None)
