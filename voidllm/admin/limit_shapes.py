"""Limits as the API writes them; the names are those of the Go VoidLLM where it has such."""

from __future__ import annotations

from typing import Any, Mapping

from attrs import evolve
from msgspec import UNSET, Struct, UnsetType

from voidllm.admin.kinds import Asked, Limit
from voidllm.core.principal import Limits

#: Field of the API to that of :class:`~voidllm.core.principal.Limits`.
NAMES: Mapping[str, str] = {
    "requests_per_minute": "requests_per_minute",
    "requests_per_day": "requests_per_day",
    "tokens_per_minute": "tokens_per_minute",
    "daily_token_limit": "tokens_per_day",
    "monthly_token_limit": "tokens_per_month",
}


class Limited(Struct, kw_only=True, frozen=True):
    """Base of what has limits."""

    requests_per_minute: Limit
    requests_per_day: Limit
    tokens_per_minute: Limit
    daily_token_limit: Limit
    monthly_token_limit: Limit


class NewLimits(Asked):
    """Base of what is made with limits."""

    requests_per_minute: Limit = 0
    requests_per_day: Limit = 0
    tokens_per_minute: Limit = 0
    daily_token_limit: Limit = 0
    monthly_token_limit: Limit = 0


class LimitsPatch(Asked):
    """Base of a merge patch of limits; null takes one away."""

    requests_per_minute: Limit | UnsetType | None = UNSET
    requests_per_day: Limit | UnsetType | None = UNSET
    tokens_per_minute: Limit | UnsetType | None = UNSET
    daily_token_limit: Limit | UnsetType | None = UNSET
    monthly_token_limit: Limit | UnsetType | None = UNSET


def shown(limits: Limits) -> dict[str, int]:
    """Give limits as fields of the API."""
    return {name: getattr(limits, own) for name, own in NAMES.items()}


def asked(ask: NewLimits) -> Limits:
    """Give the limits that something new shall have."""
    return Limits(**{own: getattr(ask, name) for name, own in NAMES.items()})


def patched(limits: Limits, patch: LimitsPatch) -> Limits:
    """Give limits as a patch changes them."""
    changes: dict[str, Any] = {
        own: value or 0 for name, own in NAMES.items() if (value := getattr(patch, name)) is not UNSET
    }
    return evolve(limits, **changes)
