"""Upstreams that speak OpenAI's API as it is: OpenAI, vLLM, Ollama and custom ones."""

from __future__ import annotations

from voidllm.core.model import Deployment
from voidllm.providers.base import Target, split_base_url


class OpenAICompatible:
    """``{base_url}/{endpoint}`` with a bearer key if one is configured."""

    def target(self, deployment: Deployment, endpoint: str) -> Target:
        """Say where ``endpoint`` of ``deployment`` is."""
        scheme, host, port, path = split_base_url(deployment.base_url, endpoint)
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if deployment.api_key:
            headers = ((b"authorization", b"Bearer " + deployment.api_key.encode("utf-8")),)
        return Target(scheme, host, port, path, headers)
