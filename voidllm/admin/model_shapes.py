"""What models and deployments look like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Id, Listing, Named, Span, Text, Time

_END = r"$(?![\s\S])"

ModelType = Literal[
    "chat", "embedding", "reranking", "completion", "image", "audio_transcription", "tts", "moderation"
]
Provider = Literal["openai", "vllm", "ollama", "custom", "demo", "anthropic", "azure", "gemini", "vertex"]
Strategy = Literal["round-robin", "least-latency", "weighted", "priority"]
Source = Literal["api", "yaml"]
Sort = Literal["created_at", "-created_at", "name", "-name"]
Share = Annotated[int, Meta(ge=0, le=1_000_000)]

#: What names a model or a deployment in a reply; those of the configuration file have ids of their own kind.
ModelId = Annotated[
    str,
    Meta(
        max_length=36,
        description="UUIDv7, or yaml- and letters for what the configuration file defines",
        examples=["0199c0de-7a1b-7c3d-8e9f-0123456789ab", "yaml-6fd2b0a1c9e84f37"],
    ),
]

#: A secret on its way in; it is never shown again.
ApiKey = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=16_384,
        pattern=rf"^[!-~]*{_END}",
        description="visible ASCII characters; never shown again",
        examples=["sk-example"],
    ),
]

BaseUrl = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2048,
        pattern=rf"^https?://[!-~]+{_END}",
        description="http or https with a host, up to and with /v1, without credentials",
        examples=["https://api.example.com/v1"],
    ),
]

_Decimal = Annotated[
    str,
    Meta(max_length=20, pattern=rf"^(0|[1-9][0-9]{{0,5}})(\.[0-9]{{1,9}})?{_END}", examples=["2.50"]),
]
#: Money on the way in, USD per million tokens: a text is exact, a number is taken as it is written.
Usd = _Decimal | Annotated[float, Meta(ge=0, le=1_000_000)] | Annotated[int, Meta(ge=0, le=1_000_000)]

#: Money on the way out.
Price = Annotated[str, Meta(description="USD per million tokens, exactly", examples=["2.5"])]

#: Prices in the API and what the configuration calls them.
PRICES = {
    "input_price_per_1m": "input_per_1m",
    "output_price_per_1m": "output_per_1m",
    "cached_input_price_per_1m": "cached_input_per_1m",
    "cache_write_price_per_1m": "cache_write_per_1m",
    "reasoning_price_per_1m": "reasoning_per_1m",
    "audio_price_per_1m": "audio_per_1m",
    "audio_output_price_per_1m": "audio_output_per_1m",
}


class Deployment(Struct, kw_only=True, frozen=True):
    """One place where a model runs, without its key."""

    id: ModelId
    model_id: ModelId
    name: str
    provider: str
    base_url: str
    upstream_model: Annotated[str, Meta(description="what the upstream calls the model")]
    has_key: Annotated[bool, Meta(description="whether a key is sent there, its own or a shared one")]
    credential_id: Id | None
    credential: Named | UnsetType | None = UNSET
    weight: Share
    priority: Share
    is_active: bool
    created_at: Time | None
    updated_at: Time | None


class Model(Struct, kw_only=True, frozen=True):
    """A model; where it has one deployment, what is known of that is here too."""

    id: ModelId
    name: str
    type: str
    source: Annotated[Source, Meta(description="yaml is the configuration file, which is changed there only")]
    provider: str | None
    base_url: str | None
    upstream_model: str | None
    has_key: bool
    credential_id: Id | None
    aliases: list[str]
    max_context_tokens: Annotated[int, Meta(ge=0, description="0 is unknown")]
    input_price_per_1m: Price | None
    output_price_per_1m: Price | None
    cached_input_price_per_1m: Price | None
    cache_write_price_per_1m: Price | None
    reasoning_price_per_1m: Price | None
    audio_price_per_1m: Price | None
    audio_output_price_per_1m: Price | None
    timeout: Annotated[str, Meta(description="of a call that does not stream", examples=["1m30s"])] | None
    strategy: str | None
    max_retries: int
    fallback_model_name: str | None
    is_active: bool
    conflict: Annotated[
        str | None, Meta(description="why it is not served as it is stored, if the file has its names")
    ]
    deployments: list[Deployment]
    created_at: Time | None
    updated_at: Time | None


class ModelList(Listing):
    """Which models."""

    expand: (
        Annotated[list[Literal["credential"]], Meta(max_length=1, description="show names, not only ids")]
        | None
    ) = None
    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the name or an alias")] | None = None
    type: ModelType | None = None
    provider: Annotated[Provider, Meta(description="of one of its deployments")] | None = None
    source: Source | None = None
    include_inactive: bool = False


class DeploymentList(Listing):
    """Which deployments."""

    expand: (
        Annotated[list[Literal["credential"]], Meta(max_length=1, description="show names, not only ids")]
        | None
    ) = None
    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the name")] | None = None
    provider: Provider | None = None
    is_active: bool | None = None


class NewEndpoint(Asked):
    """Where something runs."""

    base_url: Annotated[BaseUrl, Meta(description="not for demo")] | None = None
    api_key: ApiKey | None = None
    credential_id: Annotated[Text, Meta(description="instead of api_key: id or name")] | None = None
    upstream_model: Annotated[Text, Meta(description="the model's name by default")] | None = None
    azure_deployment: Text | None = None
    azure_api_version: Text | None = None
    gcp_project: Text | None = None
    gcp_location: Text | None = None
    pii_filter: bool | None = None


class EndpointPatch(Asked):
    """What of it is to change."""

    provider: Provider | UnsetType = UNSET
    base_url: BaseUrl | UnsetType | None = UNSET
    api_key: ApiKey | UnsetType | None = UNSET
    credential_id: Text | UnsetType | None = UNSET
    upstream_model: Text | UnsetType | None = UNSET
    azure_deployment: Text | UnsetType | None = UNSET
    azure_api_version: Text | UnsetType | None = UNSET
    gcp_project: Text | UnsetType | None = UNSET
    gcp_location: Text | UnsetType | None = UNSET
    pii_filter: bool | UnsetType | None = UNSET


class NewDeployment(NewEndpoint, kw_only=True):
    """A deployment to be made."""

    name: Text
    provider: Provider
    weight: Share = 1
    priority: Share = 0
    is_active: bool = True


class DeploymentPatch(EndpointPatch):
    """What of a deployment is to change; null clears."""

    name: Text | UnsetType = UNSET
    weight: Share | UnsetType = UNSET
    priority: Share | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class NewModel(NewEndpoint, kw_only=True):
    """A model to be made; with a provider it gets its first deployment along."""

    name: Text
    type: ModelType = "chat"
    provider: Provider | None = None
    aliases: Annotated[list[Text], Meta(max_length=50)] = []
    max_context_tokens: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    input_price_per_1m: Usd | None = None
    output_price_per_1m: Usd | None = None
    cached_input_price_per_1m: Usd | None = None
    cache_write_price_per_1m: Usd | None = None
    reasoning_price_per_1m: Usd | None = None
    audio_price_per_1m: Usd | None = None
    audio_output_price_per_1m: Usd | None = None
    timeout: Annotated[Span, Meta(description="100ms to 24h; no limit by default")] | None = None
    strategy: Strategy | None = None
    max_retries: Annotated[int, Meta(ge=0, le=100)] = 0
    fallback_model_name: Text | None = None
    is_active: bool = True


class ModelPatch(EndpointPatch):
    """What of a model is to change; null clears. What concerns a deployment is for models with one."""

    name: Text | UnsetType = UNSET
    type: ModelType | UnsetType = UNSET
    aliases: Annotated[list[Text], Meta(max_length=50)] | UnsetType | None = UNSET
    max_context_tokens: Annotated[int, Meta(ge=0, le=2**53 - 1)] | UnsetType | None = UNSET
    input_price_per_1m: Usd | UnsetType | None = UNSET
    output_price_per_1m: Usd | UnsetType | None = UNSET
    cached_input_price_per_1m: Usd | UnsetType | None = UNSET
    cache_write_price_per_1m: Usd | UnsetType | None = UNSET
    reasoning_price_per_1m: Usd | UnsetType | None = UNSET
    audio_price_per_1m: Usd | UnsetType | None = UNSET
    audio_output_price_per_1m: Usd | UnsetType | None = UNSET
    timeout: Span | UnsetType | None = UNSET
    strategy: Strategy | UnsetType | None = UNSET
    max_retries: Annotated[int, Meta(ge=0, le=100)] | UnsetType | None = UNSET
    fallback_model_name: Text | UnsetType | None = UNSET
