"""What is asked for: models, the deployments that serve them, and what they cost."""

from __future__ import annotations

from attrs import field, frozen

#: What a model is for; one of these is ``Model.type``.
MODEL_TYPES = (
    "chat",
    "embedding",
    "reranking",
    "completion",
    "image",
    "audio_transcription",
    "tts",
    "moderation",
)


@frozen
class Price:
    """Prices in integer nano-USD per million tokens, one per disjoint token bucket.

    :ivar version: names the price list that these numbers came from; every usage row
        carries it, so a bill can be explained later.
    :ivar audio: audio tokens read, and those written too unless ``audio_output`` is given.
    """

    version: str
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    audio: int = 0
    audio_output: int | None = None


@frozen
class UpstreamTLS:
    """How an upstream's certificate is checked and which one is shown to it.

    :ivar ca_file: PEM file of private authorities, or ``None`` for the system's.
    :ivar client_cert: PEM file, or ``None``.
    :ivar client_key: PEM file, or ``None``.
    """

    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None


SYSTEM_TLS = UpstreamTLS()


@frozen
class Deployment:
    """One place where a model runs.

    :ivar key: ``model`` or ``model/deployment``; names it in metrics and usage rows.
    :ivar base_url: without trailing slash; ``""`` for providers answered in-process.
    :ivar api_key: the upstream secret; never shown.
    :ivar upstream_model: the name that the upstream knows the model by.
    :ivar timeout_ms: whole-attempt limit of a call that does not stream, or ``None``.
    """

    key: str
    name: str
    provider: str
    base_url: str
    upstream_model: str
    api_key: str = field(default="", repr=False)
    weight: int = 1
    priority: int = 0
    timeout_ms: int | None = None
    tls: UpstreamTLS = SYSTEM_TLS
    proxy_url: str | None = field(default=None, repr=False)


@frozen
class Model:
    """A model as callers know it.

    :ivar name: the canonical name, used for access lists, prices and usage.
    :ivar aliases: further global names.
    :ivar max_context_tokens: informational; 0 when unknown.
    """

    name: str
    type: str
    deployments: tuple[Deployment, ...]
    aliases: tuple[str, ...] = ()
    price: Price | None = None
    max_context_tokens: int = 0
    strategy: str = "round-robin"
