"""``models``: what callers may ask for, and where it runs."""

# ruff: noqa: RUF009 - key() and section() declare attrs fields
from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from attrs import frozen

from voidllm.config.durations import Duration
from voidllm.config.fields import OneOf, Range, key, section
from voidllm.config.kinds import Count, Line, Name, Secret, ms
from voidllm.core.model import MODEL_TYPES

PROVIDERS = ("openai", "vllm", "ollama", "custom", "demo", "anthropic", "azure", "gemini", "vertex")
STRATEGIES = ("round-robin", "least-latency", "weighted", "priority")

_Usd = Annotated[Decimal, Range(0, 1_000_000)]
_Provider = Annotated[str, OneOf(PROVIDERS)]


@frozen(kw_only=True)
class Pricing:
    """USD per million tokens; a bucket without a number costs what its parent costs."""

    input_per_1m: _Usd | None = key(None, "Tokens read.", live=True)
    output_per_1m: _Usd | None = key(None, "Tokens written.", live=True)
    cached_input_per_1m: _Usd | None = key(
        None, "Tokens read from the provider's cache; else as input.", live=True
    )
    cache_write_per_1m: _Usd | None = key(
        None, "Tokens written to the provider's cache; else as input.", live=True
    )
    reasoning_per_1m: _Usd | None = key(None, "Reasoning tokens; else as output.", live=True)
    audio_per_1m: _Usd | None = key(None, "Audio tokens; else as input and output.", live=True)
    audio_output_per_1m: _Usd | None = key(None, "Audio tokens written; else as audio.", live=True)

    @property
    def given(self) -> bool:
        """Whether any number is set; zero is a number, and means free."""
        return self != Pricing()


@frozen(kw_only=True)
class ModelTLS:
    """How one upstream is verified, and what is shown to it."""

    ca_file: Line = key("", "PEM file of private authorities.", path=True, live=True)
    client_cert: Line = key("", "PEM file with a client certificate.", path=True, live=True)
    client_key: Line = key("", "PEM file with its key.", path=True, live=True)


@frozen(kw_only=True)
class Endpoint:
    """What a model and a deployment have in common: one place where it runs."""

    provider: _Provider = key("", "Who speaks there.", live=True)
    base_url: Line = key("", "Up to and with `/v1`; not for `demo`.", show="url", live=True)
    api_key: Secret = key("", "Sent to the upstream as bearer token.", show="secret", live=True)
    upstream_model: Name = key("", "The upstream's name of the model; default: the model's name.", live=True)
    azure_deployment: Name = key("", "For provider azure.", live=True)
    azure_api_version: Name = key("", "For provider azure.", live=True)
    gcp_project: Name = key("", "For provider vertex.", live=True)
    gcp_location: Name = key("", "For provider vertex.", live=True)
    pii_filter: bool | None = key(None, "Whether what goes there is filtered.", live=True)
    tls: ModelTLS = section(ModelTLS, live=True)


@frozen(kw_only=True)
class DeploymentConfig(Endpoint):
    """One of several places where a model runs."""

    name: Name = key("", "Unique in its model.", live=True)
    weight: Annotated[int, Range(0, 1_000_000)] = key(1, "For strategy weighted; 0 counts as 1.", live=True)
    priority: Annotated[int, Range(0, 1_000_000)] = key(0, "For strategy priority; lowest first.", live=True)


@frozen(kw_only=True)
class ModelConfig(Endpoint):
    """A model."""

    name: Name = key("", "What callers ask for; required, unique.", live=True)
    type: Annotated[str, OneOf(MODEL_TYPES)] = key("chat", "What it is for.", live=True)
    aliases: tuple[Name, ...] = key((), "Other names, unique over all models.", live=True)
    max_context_tokens: Count = key(0, "Informational; 0 is unknown.", live=True)
    pricing: Pricing = section(Pricing, live=True)
    timeout: Annotated[Duration, Range(ms("100ms"), ms("24h"), 0)] = key(
        ms("0"), "Longest duration of a call that does not stream; 0 is no limit.", live=True
    )
    strategy: Annotated[str, OneOf(("", *STRATEGIES))] = key("", "Order of several deployments.", live=True)
    max_retries: Annotated[int, Range(0, 100)] = key(0, "Further deployments tried; 0 is all.", live=True)
    fallback: Name = key("", "Model that takes over when this one fails.", live=True)
    deployments: tuple[DeploymentConfig, ...] = key(
        (), "Where it runs, instead of the keys above.", live=True
    )
