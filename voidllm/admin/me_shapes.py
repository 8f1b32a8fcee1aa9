"""What callers are shown of themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Id, Named, Ref, Text, Time

Role = Literal["member", "team_admin", "org_admin", "system_admin"]
Type = Literal[
    "chat", "embedding", "reranking", "completion", "image", "audio_transcription", "tts", "moderation"
]


class MyOrg(Struct, kw_only=True, frozen=True):
    """An organisation and the caller's role there."""

    id: Id
    name: str
    slug: str
    role: Role


class MyTeam(MyOrg, kw_only=True, frozen=True):
    """A team and the caller's role there."""

    org_id: Id


class MyKey(Struct, kw_only=True, frozen=True):
    """The API key that the request came with."""

    id: Id
    name: str
    key_type: Literal["user_key", "team_key", "sa_key", "session_key"]
    scopes: list[Literal["inference", "admin:read", "admin:write"]]
    org_id: Id
    owner: Annotated[Named, Meta(description="the person, team or service account that it speaks for")]


class Me(Struct, kw_only=True, frozen=True):
    """Who the caller is; of a person also the fields of a user."""

    kind: Annotated[
        Literal["user", "key", "service_account", "operator"],
        Meta(description="whom the request speaks for; a `key` is a team's own"),
    ]
    role: Annotated[Role, Meta(description="the highest that the caller has anywhere")]
    org_id: Annotated[Id, Meta(description="the organisation that is meant where none is named")] | None
    id: Id | UnsetType = UNSET
    email: str | UnsetType = UNSET
    display_name: str | UnsetType = UNSET
    is_system_admin: bool
    must_change_password: bool
    auth_provider: str | UnsetType = UNSET
    has_password: bool | UnsetType = UNSET
    totp: Annotated[bool, Meta(description="whether a second factor is asked for")] | UnsetType = UNSET
    recovery_codes_left: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    created_at: Time | UnsetType = UNSET
    orgs: list[MyOrg]
    teams: list[MyTeam]
    key: MyKey | UnsetType = UNSET
    session_id: Id | UnsetType = UNSET


class MePatch(Asked):
    """What people may change of themselves."""

    display_name: Text


class ModelsQuery(Asked):
    """For whom."""

    org: Annotated[Ref, Meta(description="id or slug; the caller's own by default")] | None = None


class AvailableModel(Struct, kw_only=True, frozen=True):
    """A model that may be used."""

    name: str
    type: Type


class AvailableModels(Struct, kw_only=True, frozen=True):
    """Every model that may be used, by name."""

    models: list[AvailableModel]
