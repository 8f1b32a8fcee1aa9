"""Rules for ``models`` that go beyond one key."""

from __future__ import annotations

import re
from typing import Iterator, Sequence

from voidllm.config.errors import Path
from voidllm.config.models import Endpoint, ModelConfig, ModelTLS
from voidllm.config.urls import url_fault

_VISIBLE = re.compile(r"[\x21-\x7e]*\Z")


def check_models(models: Sequence[ModelConfig]) -> Iterator[tuple[Path, str]]:
    """Give a path and a message for every rule that ``models`` break."""
    names = {model.name for model in models}
    aliases: dict[str, int] = {}
    seen: set[str] = set()
    for index, model in enumerate(models):
        here: Path = ("models", index)
        if not model.name:
            yield (*here, "name"), "is required"
        elif model.name in seen:
            yield (*here, "name"), "is the name of another model too"
        elif ":deleted:" in model.name:
            yield (*here, "name"), "must not contain ':deleted:'"
        seen.add(model.name)
        for number, alias in enumerate(model.aliases):
            path = (*here, "aliases", number)
            if not alias:
                yield path, "must not be empty"
            elif alias in names:
                yield path, "is the name of a model"
            elif alias in aliases:
                yield path, f"is an alias of models[{aliases[alias]}] already"
            else:
                aliases[alias] = index
        if model.deployments:
            yield from _deployments(model, here)
        else:
            yield from _endpoint(model, here)
            if model.strategy:
                yield (*here, "strategy"), "is for models with deployments"
    yield from _fallbacks(models, aliases)


def _deployments(model: ModelConfig, here: Path) -> Iterator[tuple[Path, str]]:
    seen: set[str] = set()
    for index, deployment in enumerate(model.deployments):
        path = (*here, "deployments", index)
        if not deployment.name:
            yield (*path, "name"), "is required"
        elif deployment.name in seen:
            yield (*path, "name"), "is the name of another deployment of this model"
        seen.add(deployment.name)
        yield from _endpoint(deployment, path)


def _endpoint(endpoint: Endpoint, path: Path) -> Iterator[tuple[Path, str]]:
    if not endpoint.provider:
        yield (*path, "provider"), "is required"
    elif endpoint.provider == "demo":
        if endpoint.base_url:
            yield (*path, "base_url"), "is not for provider demo, which answers by itself"
    elif not endpoint.base_url:
        yield (*path, "base_url"), "is required"
    if endpoint.base_url and (fault := url_fault(endpoint.base_url, ("http", "https"))):
        yield (*path, "base_url"), fault
    if not _VISIBLE.match(endpoint.api_key):
        yield (*path, "api_key"), "must be of visible ASCII characters, without spaces"
    if endpoint.provider == "azure" and not endpoint.azure_deployment:
        yield (*path, "azure_deployment"), "is required for azure"
    if endpoint.provider == "vertex":
        for name in ("gcp_project", "gcp_location"):
            if not getattr(endpoint, name):
                yield (*path, name), "is required for vertex"
    yield from _client_tls(endpoint.tls, (*path, "tls"))


def _client_tls(tls: ModelTLS, path: Path) -> Iterator[tuple[Path, str]]:
    if bool(tls.client_cert) != bool(tls.client_key):
        missing = "client_key" if tls.client_cert else "client_cert"
        yield (*path, missing), "is required: a client certificate needs its key, and the other way round"


def _fallbacks(models: Sequence[ModelConfig], aliases: dict[str, int]) -> Iterator[tuple[Path, str]]:
    by_name = {model.name: model for model in models}

    def target(name: str) -> ModelConfig | None:
        found = by_name.get(name)
        return models[aliases[name]] if found is None and name in aliases else found

    for index, model in enumerate(models):
        if not model.fallback:
            continue
        path: Path = ("models", index, "fallback")
        follow = target(model.fallback)
        if follow is None:
            yield path, "is not the name or alias of a model"
            continue
        visited: list[ModelConfig] = []
        while follow is not None and follow is not model and follow not in visited:
            visited.append(follow)
            follow = target(follow.fallback) if follow.fallback else None
        if follow is model:
            yield path, "leads back to this model"
