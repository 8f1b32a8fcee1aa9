"""What API keys look like on the way in and on the way out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Id, Limit, Listing, Named, Once, Ref, Span, Text, Time

KeyType = Literal["user_key", "team_key", "sa_key"]
Scope = Literal["inference", "admin:read", "admin:write"]
Scopes = Annotated[list[Scope], Meta(min_length=1, max_length=3)]
Models = Annotated[list[Text], Meta(max_length=500, description="empty allows none, null allows all")]
When = Annotated[datetime, Meta(tz=True, examples=["2026-12-31T12:00:00Z"])]
Owner = Literal["org", "team", "user", "service_account"]
Sort = Literal["created_at", "-created_at", "name", "-name"]


class Key(Struct, kw_only=True, frozen=True):
    """An API key, without the key itself, which is not stored."""

    id: Id
    key_hint: Annotated[str, Meta(description="its first and last characters")]
    key_type: Literal["user_key", "team_key", "sa_key", "session_key"]
    name: str
    org_id: Id
    team_id: Id | None
    user_id: Id | None
    service_account_id: Id | None
    org: Named | UnsetType | None = UNSET
    team: Named | UnsetType | None = UNSET
    user: Named | UnsetType | None = UNSET
    service_account: Named | UnsetType | None = UNSET
    role: Annotated[str, Meta(description="of whom the key speaks for")]
    scopes: list[Scope]
    models: list[str] | None
    requests_per_minute: Limit
    requests_per_day: Limit
    tokens_per_minute: Limit
    tokens_per_day: Limit
    tokens_per_month: Limit
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class MadeKey(Key, kw_only=True, frozen=True):
    """A new API key."""

    key: Once | UnsetType = UNSET


class OldKey(Struct, kw_only=True, frozen=True):
    """What became of a key that was rotated."""

    id: Id
    key_hint: str
    expires_at: Time


class Rotated(Struct, kw_only=True, frozen=True):
    """A key and its predecessor."""

    new_key: MadeKey
    old_key: OldKey


class KeyList(Listing):
    """Which keys."""

    expand: Annotated[list[Owner], Meta(max_length=4, description="show names, not only ids")] | None = None

    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the name or the hint")] | None = None
    org: Annotated[Ref, Meta(description="id or slug")] | None = None
    team: Annotated[Ref, Meta(description="id of a team")] | None = None
    user: Annotated[Ref, Meta(description="id of a user")] | None = None
    service_account: Annotated[Ref, Meta(description="id of a service account")] | None = None
    key_type: KeyType | None = None
    include_revoked: bool = False


class NewKey(Asked):
    """A key to be made; its owner by id, slug, address or name."""

    name: Text
    key_type: KeyType = "user_key"
    org: Annotated[Ref, Meta(description="the caller's own, or the oldest, by default")] | None = None
    team: Annotated[Ref, Meta(description="needed for a team_key")] | None = None
    user: Annotated[Ref, Meta(description="for a user_key; the caller by default")] | None = None
    service_account: (
        Annotated[
            Ref, Meta(description="for an sa_key; made if there is none, named like the key by default")
        ]
        | None
    ) = None
    scopes: Annotated[Scopes, Meta(description="inference by default")] | None = None
    models: Models | None = None
    requests_per_minute: Limit = 0
    requests_per_day: Limit = 0
    tokens_per_minute: Limit = 0
    tokens_per_day: Limit = 0
    tokens_per_month: Limit = 0
    expires_at: When | None = None
    expires_in: Annotated[Span, Meta(description="instead of expires_at")] | None = None


class KeyPatch(Asked):
    """What is to change; null takes a limit, the restriction or the expiry away."""

    name: Text | UnsetType = UNSET
    models: Models | UnsetType | None = UNSET
    requests_per_minute: Limit | UnsetType | None = UNSET
    requests_per_day: Limit | UnsetType | None = UNSET
    tokens_per_minute: Limit | UnsetType | None = UNSET
    tokens_per_day: Limit | UnsetType | None = UNSET
    tokens_per_month: Limit | UnsetType | None = UNSET
    expires_at: When | UnsetType | None = UNSET


class Grace(Asked):
    """How a key is rotated."""

    grace: Annotated[Span, Meta(description="how long the old key stays valid at most")] = "24h"
