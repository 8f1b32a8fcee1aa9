"""Providers: one pure module each, looked up by the name used in the configuration."""

from __future__ import annotations

from voidllm.providers.base import Provider, Target
from voidllm.providers.openai import OpenAICompatible

#: Answered inside the gateway; needs no URL.
IN_PROCESS = frozenset({"demo"})

PROVIDERS: dict[str, Provider] = {name: OpenAICompatible() for name in ("openai", "vllm", "ollama", "custom")}

__all__ = ["IN_PROCESS", "PROVIDERS", "Provider", "Target"]
