"""What stored models and deployments must be; pure."""

from __future__ import annotations

from typing import Any, Mapping

from attrs import evolve
from msgspec import UNSET, Struct, structs

from voidllm.admin.fields import bad
from voidllm.admin.model_shapes import PRICES
from voidllm.admin.moments import span_ms
from voidllm.config.unbuilt import MESSAGE, UNBUILT_PROVIDERS
from voidllm.config.urls import url_fault
from voidllm.store.model_records import MOST_DEPLOYMENTS, StoredDeployment, StoredModel
from voidllm.usage.price_numbers import nano_per_million

#: Fields of what is not there yet; each goes with the feature's arrival.
_UNBUILT = ("azure_deployment", "azure_api_version", "gcp_project", "gcp_location", "fallback_model_name")
_SHORTEST_MS, _LONGEST_MS = 100, 86_400_000

#: Fields that concern a deployment.
ENDPOINT = frozenset({"provider", "base_url", "api_key", "credential_id", "upstream_model"})


def given(ask: Struct) -> dict[str, Any]:
    """Give what a request gives, by field.

    :raises Refusal: 400 for what this version does not have.
    """
    found = {name: value for name, value in structs.asdict(ask).items() if value is not UNSET}
    if found.get("provider") in UNBUILT_PROVIDERS:
        raise bad(f"this provider {MESSAGE}", "provider")
    for name in _UNBUILT:
        if found.get(name) is not None:
            raise bad(f"{name} {MESSAGE}", name)
    if found.get("pii_filter"):
        raise bad(f"pii_filter {MESSAGE}", "pii_filter")
    if found.get("api_key") is not None and found.get("credential_id") is not None:
        raise bad("give api_key or credential_id, not both", "credential_id")
    return found


def model_of(old: StoredModel, found: Mapping[str, Any], now_ms: int) -> StoredModel:
    """Give a model with what a request says of it, its deployments left aside.

    :raises Refusal: 400.
    """
    plain = ("name", "type", "is_active", "max_context_tokens", "max_retries", "strategy")
    empty: dict[str, Any] = {"max_context_tokens": 0, "max_retries": 0, "strategy": ""}
    changes: dict[str, Any] = {
        name: empty.get(name) if found[name] is None else found[name] for name in plain if name in found
    }
    made = evolve(old, updated_at_ms=now_ms, **changes)
    if "aliases" in found:
        made = evolve(made, aliases=tuple(found["aliases"] or ()))
    if "timeout" in found:
        made = evolve(made, timeout_ms=_timeout_ms(found["timeout"]))
    pricing = dict(made.pricing)
    for field, name in PRICES.items():
        if found.get(field) is not None:
            pricing[name] = _nano(found[field], field)
        elif field in found:
            pricing.pop(name, None)
    made = evolve(made, pricing=pricing)
    for field, name in (("name", made.name), *(("aliases", alias) for alias in made.aliases)):
        if ":deleted:" in name:
            raise bad(f"{field} must not contain ':deleted:'", field)
    if len({made.name, *made.aliases}) != 1 + len(made.aliases):
        raise bad("aliases must differ from each other and from the name", "aliases")
    return made


def checked(model: StoredModel) -> StoredModel:
    """Give back a model whose deployments fit together.

    :raises Refusal: 400.
    """
    # For one place to run at a time; goes with the arrival of routing.
    if sum(one.is_active for one in model.deployments) > 1:
        raise bad(f"more than one active deployment {MESSAGE}", "is_active")
    if len(model.deployments) > MOST_DEPLOYMENTS:
        raise bad(f"a model may have {MOST_DEPLOYMENTS} deployments at most")
    if len({one.name for one in model.deployments}) != len(model.deployments):
        raise bad("another deployment of this model has this name", "name")
    for one in model.deployments:
        check_endpoint(one.provider, one.base_url)
    return model


def check_endpoint(provider: str, base_url: str) -> None:
    """Refuse what cannot be an upstream.

    :raises Refusal: 400.
    """
    if provider == "demo":
        if base_url:
            raise bad("base_url is not for provider demo, which answers by itself", "base_url")
    elif not base_url:
        raise bad("base_url is required", "base_url")
    elif (fault := url_fault(base_url, ("http", "https"))) is not None:
        raise bad(f"base_url {fault}", "base_url")


def replaced(model: StoredModel, one: StoredDeployment) -> StoredModel:
    """Give a model with a deployment in the place of the one with its id, or added."""
    others = [each for each in model.deployments if each.id != one.id]
    return evolve(model, deployments=tuple(sorted((*others, one), key=lambda each: each.id)))


def _timeout_ms(text: str | None) -> int:
    at = 0 if text is None else span_ms("timeout", text)
    if at and not _SHORTEST_MS <= at <= _LONGEST_MS:
        raise bad("timeout must be from 100ms to 24h, or 0 for no limit", "timeout")
    return at


def _nano(value: Any, field: str) -> int:
    try:
        return nano_per_million(value, field)
    except ValueError as error:
        raise bad(str(error), field) from None
