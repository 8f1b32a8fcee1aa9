"""Stored and configured models as the API shows them: alike, and without secrets."""

from __future__ import annotations

import hashlib
from typing import Any, Mapping, Sequence

from msgspec import structs

from voidllm.admin.kinds import Named
from voidllm.admin.model_shapes import PRICES, Deployment, Model
from voidllm.admin.moments import moment
from voidllm.admin.views import dollars
from voidllm.config.durations import Duration
from voidllm.config.models import DeploymentConfig, ModelConfig
from voidllm.config.urls import without_credentials
from voidllm.store.model_records import StoredDeployment, StoredModel
from voidllm.usage.price_numbers import nano_per_million


def configured_id(name: str) -> str:
    """Give the id of what the configuration file defines under a name."""
    return f"yaml-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"


def names_of(configured: Sequence[ModelConfig]) -> frozenset[str]:
    """Give every name and alias that the configuration file defines."""
    return frozenset(name for model in configured for name in (model.name, *model.aliases))


def stored_view(model: StoredModel, taken: frozenset[str]) -> Model:
    """Show a stored model.

    :param taken: what :func:`names_of` gives.
    """
    deployments = [deployment_view(model, one) for one in model.deployments]
    prices: dict[str, Any] = {
        field: None if (nano := model.pricing.get(name)) is None else dollars(nano)
        for field, name in PRICES.items()
    }
    return Model(
        id=model.id,
        name=model.name,
        type=model.type,
        source="api",
        **_common(deployments),
        aliases=list(model.aliases),
        max_context_tokens=model.max_context_tokens,
        **prices,
        timeout=str(Duration(model.timeout_ms)) if model.timeout_ms else None,
        strategy=model.strategy or None,
        max_retries=model.max_retries,
        fallback_model_name=None,
        is_active=model.is_active,
        conflict=_conflict(model, taken),
        deployments=deployments,
        created_at=moment(model.created_at_ms),
        updated_at=moment(model.updated_at_ms),
    )


def deployment_view(model: StoredModel, one: StoredDeployment) -> Deployment:
    """Show a deployment of a stored model."""
    return Deployment(
        id=one.id,
        model_id=model.id,
        name=one.name,
        provider=one.provider,
        base_url=one.base_url,
        upstream_model=one.upstream_model or model.name,
        has_key=one.api_key is not None or one.credential_id is not None,
        credential_id=one.credential_id,
        weight=one.weight,
        priority=one.priority,
        is_active=one.is_active,
        created_at=moment(one.created_at_ms),
        updated_at=moment(one.updated_at_ms),
    )


def configured_view(model: ModelConfig) -> Model:
    """Show a model of the configuration file."""
    places: Sequence[Any] = model.deployments or (model,)
    deployments = [_configured_deployment(model, one) for one in places]
    prices: dict[str, Any] = {}
    for field, name in PRICES.items():
        usd = getattr(model.pricing, name)
        prices[field] = None if usd is None else dollars(nano_per_million(str(usd)))
    return Model(
        id=configured_id(model.name),
        name=model.name,
        type=model.type,
        source="yaml",
        **_common(deployments),
        aliases=list(model.aliases),
        max_context_tokens=model.max_context_tokens,
        **prices,
        timeout=str(model.timeout) if model.timeout else None,
        strategy=model.strategy or None,
        max_retries=model.max_retries,
        fallback_model_name=model.fallback or None,
        is_active=True,
        conflict=None,
        deployments=deployments,
        created_at=None,
        updated_at=None,
    )


def with_credentials(model: Model, names: Mapping[str, str]) -> Model:
    """Give a model whose deployments say what their shared credentials are called."""
    return structs.replace(model, deployments=[with_credential(one, names) for one in model.deployments])


def with_credential(one: Deployment, names: Mapping[str, str]) -> Deployment:
    """Give a deployment that says what its shared credential is called."""
    name = names.get(one.credential_id or "")
    known = None if name is None or one.credential_id is None else Named(id=one.credential_id, name=name)
    return structs.replace(one, credential=known)


def _configured_deployment(model: ModelConfig, one: ModelConfig | DeploymentConfig) -> Deployment:
    return Deployment(
        id=configured_id(f"{model.name}/{one.name}"),
        model_id=configured_id(model.name),
        name=one.name,
        provider=one.provider,
        base_url=without_credentials(one.base_url),
        upstream_model=one.upstream_model or model.upstream_model or model.name,
        has_key=bool(one.api_key),
        credential_id=None,
        weight=getattr(one, "weight", 1),
        priority=getattr(one, "priority", 0),
        is_active=True,
        created_at=None,
        updated_at=None,
    )


def _common(deployments: list[Deployment]) -> dict[str, Any]:
    """Give what a model shows of its only deployment."""
    only = deployments[0] if len(deployments) == 1 else None
    return {
        "provider": None if only is None else only.provider,
        "base_url": None if only is None else only.base_url,
        "upstream_model": None if only is None else only.upstream_model,
        "has_key": any(one.has_key for one in deployments),
        "credential_id": None if only is None else only.credential_id,
    }


def _conflict(model: StoredModel, taken: frozenset[str]) -> str | None:
    if model.name in taken:
        return "the configuration file defines a model with this name or alias, which is served instead"
    if taken.intersection(model.aliases):
        return "the configuration file defines one of its aliases, which leads there instead"
    return None
