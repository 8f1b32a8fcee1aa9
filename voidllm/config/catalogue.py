"""From the configured models, and the stored ones beside them, to those that the data plane knows."""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

from attrs import evolve

from voidllm.config.models import Endpoint, ModelConfig, ModelTLS, Pricing
from voidllm.config.proxies import proxy_for
from voidllm.config.root import Config
from voidllm.core.model import SYSTEM_TLS, Deployment, Model, Price, UpstreamTLS

#: ``(provider, upstream_model, pricing) -> price``; ``pricing.given`` says if numbers are configured.
PriceOf = Callable[[str, str, Pricing], Price | None]


def join(
    configured: Sequence[ModelConfig], stored: Sequence[ModelConfig]
) -> tuple[tuple[ModelConfig, ...], dict[str, tuple[str, ...]]]:
    """Put the stored models beside the configured ones, which win wherever both have a name.

    :returns: all models that are served, and of each stored model that is not served as it is
        stored, by its name, the names that are a configured model's; its own among them means
        that it is not served at all.
    """
    known = {name for model in configured for name in (model.name, *model.aliases)}
    served = list(configured)
    hidden: dict[str, tuple[str, ...]] = {}
    for model in stored:
        lost = tuple(name for name in (model.name, *model.aliases) if name in known)
        if lost:
            hidden[model.name] = lost
        if model.name not in known:
            served.append(evolve(model, aliases=tuple(one for one in model.aliases if one not in known)))
    return tuple(served), hidden


def build_models(
    config: Config,
    price_of: PriceOf,
    environ: Mapping[str, str] | None = None,
    models: Sequence[ModelConfig] | None = None,
) -> dict[str, Model]:
    """Give every model by its canonical name, sorted.

    :param price_of: says what tokens cost; configured numbers come first, so it gets those.
    :param environ: where ``HTTPS_PROXY`` and ``NO_PROXY`` are looked up when the file names no proxy.
    :param models: which ones, if not those of the configuration alone.
    """
    wanted = config.models if models is None else models
    found = (_model(config, model, price_of, environ or {}) for model in wanted)
    return {model.name: model for model in sorted(found, key=lambda model: model.name)}


def global_aliases(models: Sequence[ModelConfig]) -> dict[str, str]:
    """Give ``alias -> canonical name`` of all ``models``."""
    return {alias: model.name for model in models for alias in model.aliases}


def _model(config: Config, model: ModelConfig, price_of: PriceOf, environ: Mapping[str, str]) -> Model:
    if model.deployments:
        deployments = tuple(
            _deployment(config, model, one, one.name, environ, max(one.weight, 1), one.priority)
            for one in model.deployments
        )
    else:
        deployments = (_deployment(config, model, model, "", environ),)
    first = deployments[0]
    return Model(
        name=model.name,
        type=model.type,
        deployments=deployments,
        aliases=model.aliases,
        price=price_of(first.provider, first.upstream_model, model.pricing),
        max_context_tokens=model.max_context_tokens,
    )


def _deployment(
    config: Config,
    model: ModelConfig,
    endpoint: Endpoint,
    name: str,
    environ: Mapping[str, str],
    weight: int = 1,
    priority: int = 0,
) -> Deployment:
    base_url = endpoint.base_url.rstrip("/")
    return Deployment(
        key=f"{model.name}/{name}" if name else model.name,
        name=name or model.name,
        provider=endpoint.provider,
        base_url=base_url,
        upstream_model=endpoint.upstream_model or model.upstream_model or model.name,
        api_key=endpoint.api_key,
        weight=weight,
        priority=priority,
        timeout_ms=int(model.timeout) or None,
        tls=_tls(endpoint.tls, config.upstream.ca_file),
        proxy_url=proxy_for(base_url, config.upstream.proxy, environ) if base_url else None,
    )


def _tls(tls: ModelTLS, ca_file: str) -> UpstreamTLS:
    made = UpstreamTLS(tls.ca_file or ca_file or None, tls.client_cert or None, tls.client_key or None)
    return SYSTEM_TLS if made == SYSTEM_TLS else made
