"""What API keys look like on the way in and on the way out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Id, Listing, Named, Once, Ref, Span, Text, Time
from voidllm.admin.limit_shapes import Limited, LimitsPatch, NewLimits
from voidllm.core.networks import MOST_NETWORKS

KeyType = Literal["user_key", "team_key", "sa_key"]
Scope = Literal["inference", "admin:read", "admin:write"]
Scopes = Annotated[list[Scope], Meta(min_length=1, max_length=3)]
Models = Annotated[list[Text], Meta(max_length=500, description="empty allows none, null allows all")]
When = Annotated[datetime, Meta(tz=True, examples=["2026-12-31T12:00:00Z"])]
Network = Annotated[
    str,
    Meta(min_length=1, max_length=50, examples=["10.0.0.0/8", "2001:db8::7"], description="CIDR notation"),
]
Networks = Annotated[
    list[Network],
    Meta(max_length=MOST_NETWORKS, description="where it may be used from; empty or null for everywhere"),
]
_TAG = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9_.-]+$(?![\s\S])", examples=["cost-center"])
]
Tags = Annotated[dict[_TAG, _TAG], Meta(max_length=16, description="what its usage is reported by")]
Owner = Literal["org", "team", "user", "service_account"]
Sort = Literal["created_at", "-created_at", "name", "-name", "last_used_at", "-last_used_at"]


class Key(Limited, kw_only=True, frozen=True):
    """An API key, without the key itself, which is not stored."""

    #: Using a key does not change it.
    passing: ClassVar[tuple[str, ...]] = ("last_used_at",)

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
    allowed_addresses: list[str] | None
    tags: dict[str, str]
    created_by: Annotated[Id | None, Meta(description="the user who made it")]
    created_at: Time
    updated_at: Time | None
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Annotated[Time | None, Meta(description="to the minute or so")]


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


class OwnKeyList(Listing):
    """Which of one's own keys."""

    sort: Sort = "created_at"
    q: Annotated[Text, Meta(description="is in the name or the hint")] | None = None
    key_type: KeyType | None = None
    include_revoked: bool = False
    unused_since: (
        Annotated[Span, Meta(description="not used for so long, and not younger", examples=["90d"])] | None
    ) = None
    expand: Annotated[list[Owner], Meta(max_length=4, description="show names, not only ids")] | None = None


class OrgKeyList(OwnKeyList):
    """Which keys of an organisation."""

    team_id: Annotated[Ref, Meta(description="id of a team")] | None = None
    user_id: Annotated[Ref, Meta(description="id of a user")] | None = None
    service_account_id: Annotated[Ref, Meta(description="id of a service account")] | None = None


class KeyList(OrgKeyList):
    """Which keys of the installation."""

    org_id: Annotated[Ref, Meta(description="id or slug")] | None = None


class NewKey(NewLimits, kw_only=True):
    """A key to be made in an organisation; its owner by id, slug, address or name."""

    name: Text
    key_type: KeyType = "user_key"
    team_id: Annotated[Ref, Meta(description="needed for a team_key")] | None = None
    user_id: Annotated[Ref, Meta(description="for a user_key; the caller by default")] | None = None
    service_account_id: (
        Annotated[
            Ref, Meta(description="for an sa_key; made if there is none, named like the key by default")
        ]
        | None
    ) = None
    scopes: Annotated[Scopes, Meta(description="inference by default")] | None = None
    models: Models | None = None
    allowed_addresses: Networks | None = None
    tags: Tags | None = None
    expires_at: When | None = None
    expires_in: Annotated[Span, Meta(description="instead of expires_at")] | None = None


class NewKeyAnywhere(NewKey, kw_only=True):
    """A key to be made in any organisation."""

    org_id: Annotated[Ref, Meta(description="the caller's own, or the oldest, by default")] | None = None


class KeyPatch(LimitsPatch):
    """What is to change; null takes a limit, the restriction, the tags or the expiry away."""

    name: Text | UnsetType = UNSET
    models: Models | UnsetType | None = UNSET
    allowed_addresses: Networks | UnsetType | None = UNSET
    tags: Tags | UnsetType | None = UNSET
    expires_at: When | UnsetType | None = UNSET


class Grace(Asked):
    """How a key is rotated."""

    grace: Annotated[Span, Meta(description="how long the old key stays valid at most; 0s to 30d")] = "24h"


class Sweep(Asked):
    """Which keys are to be revoked together: those in ``ids``, or all that fit the rest."""

    ids: Annotated[list[Ref], Meta(min_length=1, max_length=500)] | None = None
    team_id: Annotated[Ref, Meta(description="id or slug of a team")] | None = None
    user_id: Annotated[Ref, Meta(description="id or address of a user")] | None = None
    unused_since: (
        Annotated[Span, Meta(description="not used for so long, and not younger", examples=["90d"])] | None
    ) = None
    name_prefix: Annotated[Text, Meta(description="what the name begins with")] | None = None
    dry_run: Annotated[bool, Meta(description="only say which keys it would be")] = False


class Swept(Struct, kw_only=True, frozen=True):
    """Keys that were revoked, or would be."""

    dry_run: bool
    data: list[Key]
    has_more: Annotated[bool, Meta(description="there may be more that fit; ask again")]
