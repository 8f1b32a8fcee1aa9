"""Stored models, their deployments and shared credentials, as they go into a store and come out."""

from __future__ import annotations

from typing import Any, Mapping

from attrs import field, frozen

#: Most models, and most deployments of one; more than anybody has, and little enough to hold at once.
MOST_MODELS = 2000
MOST_DEPLOYMENTS = 50


@frozen
class StoredCredential:
    """A provider's secret with a name, shared by deployments.

    :ivar api_key: sealed.
    :ivar used_by: how many deployments have it.
    :ivar revision: greater after every change.
    """

    id: str
    name: str
    provider: str
    api_key: str = field(repr=False)
    created_at_ms: int
    updated_at_ms: int
    revision: int = 1
    used_by: int = 0

    def plain(self) -> Mapping[str, Any]:
        """Give what the audit log may know."""
        return {"name": self.name, "provider": self.provider}


@frozen
class StoredDeployment:
    """One place where a stored model runs.

    :ivar api_key: sealed, its own; ``None`` if it has a shared credential or none.
    """

    id: str
    model_id: str
    name: str
    provider: str
    base_url: str
    upstream_model: str
    created_at_ms: int
    updated_at_ms: int
    credential_id: str | None = None
    api_key: str | None = field(default=None, repr=False)
    weight: int = 1
    priority: int = 0
    is_active: bool = True

    def plain(self) -> Mapping[str, Any]:
        """Give what the audit log may know."""
        names = ("name", "provider", "base_url", "upstream_model", "credential_id", "weight", "priority")
        shown = {name: getattr(self, name) for name in (*names, "is_active")}
        return {**shown, "has_key": self.api_key is not None or self.credential_id is not None}


@frozen
class StoredModel:
    """A model that was made over the API.

    :ivar pricing: keys of ``pricing`` in the configuration to nano-USD per million tokens.
    :ivar timeout_ms: 0 is no limit.
    :ivar revision: greater after every change of it or of one of its deployments.
    """

    id: str
    name: str
    type: str
    created_at_ms: int
    updated_at_ms: int
    aliases: tuple[str, ...] = ()
    pricing: Mapping[str, int] = field(factory=dict)
    max_context_tokens: int = 0
    timeout_ms: int = 0
    strategy: str = ""
    max_retries: int = 0
    is_active: bool = True
    revision: int = 1
    deployments: tuple[StoredDeployment, ...] = ()

    def plain(self) -> Mapping[str, Any]:
        """Give what the audit log may know, without the deployments."""
        names = ("name", "type", "max_context_tokens", "timeout_ms", "strategy", "max_retries", "is_active")
        shown = {name: getattr(self, name) for name in names}
        return {**shown, "aliases": list(self.aliases), "pricing": dict(self.pricing)}


@frozen
class StoredCatalogue:
    """All of it, read in one transaction.

    :ivar version: grows with every change.
    :ivar keys: credential ids to sealed API keys.
    :ivar key_check: check value of the encryption key that seals now, ``None`` in a new store.
    """

    version: int
    models: tuple[StoredModel, ...]
    keys: Mapping[str, str] = field(repr=False)
    key_check: str | None
