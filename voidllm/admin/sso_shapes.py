"""What single sign-on looks like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from voidllm.admin.kinds import Asked, Ref, Time
from voidllm.admin.names import Slug
from voidllm.config import sso_rules

_END = r"$(?![\s\S])"

Url = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=2048,
        pattern=r"^https?://[!-~]+" + _END,
        description="https, or http on this very machine",
        examples=["https://login.example.com"],
    ),
]
ClientId = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[!-~]+" + _END)]
Secret = Annotated[
    str,
    Meta(
        max_length=4096,
        pattern=r"^[ -~]*" + _END,
        description="never shown; empty keeps the one that there is",
    ),
]
Scope = Annotated[str, Meta(min_length=1, max_length=128, pattern=f"^{sso_rules.SCOPE.pattern}{_END}")]
Domain = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=253,
        pattern=f"^{sso_rules.DOMAIN.pattern}{_END}",
        description="in plain ASCII and lower case",
        examples=["example.com"],
    ),
]
Claim = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[!-~]+" + _END)]
Group = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[^\u0000-\u001f\u007f]*" + _END)]


class GroupRule(Asked, kw_only=True, omit_defaults=True):
    """What being in a group gives in the organisation."""

    group: Group
    role: Annotated[Literal["member", "org_admin"], Meta(description="in the organisation")] | None = None
    team: Annotated[Slug, Meta(description="slug of a team of the organisation")] | None = None
    team_role: Literal["member", "team_admin"] = "member"


class PutSSO(Asked, kw_only=True):
    """The identity provider of an organisation, whole: what is not given is as if it never was."""

    enabled: bool = True
    issuer: Url
    client_id: ClientId
    client_secret: Secret = ""
    redirect_url: (
        Annotated[
            Url, Meta(description="this gateway's /api/v1/auth/oidc/callback; by default the installation's")
        ]
        | None
    ) = None
    scopes: Annotated[list[Scope], Meta(max_length=20)] = field(
        default_factory=lambda: ["openid", "email", "profile"]
    )
    allowed_domains: Annotated[
        list[Domain],
        Meta(max_length=50, description="mail domains that the provider speaks for; needed when enabled"),
    ] = []
    auto_provision: bool = False
    default_role: Annotated[
        Literal["member", "team_admin"],
        Meta(description="of new users; both mean member: teams have their own roles"),
    ] = "member"
    group_sync: Annotated[bool, Meta(description="memberships follow the groups at each sign-on")] = False
    group_claim: Claim = "groups"
    group_rules: Annotated[
        list[GroupRule],
        Meta(max_length=200, description="without any, a group is the team with its name as slug"),
    ] = []


class SSOView(Struct, kw_only=True, frozen=True):
    """The identity provider of an organisation."""

    enabled: bool
    issuer: str
    client_id: str
    has_secret: bool
    redirect_url: str
    scopes: list[str]
    allowed_domains: list[str]
    auto_provision: bool
    default_role: str
    group_sync: bool
    group_claim: str
    group_rules: list[GroupRule]
    created_at: Time
    updated_at: Time


class InstallationSSO(Struct, kw_only=True, frozen=True):
    """``settings.sso`` of the configuration."""

    enabled: bool
    issuer: str
    client_id: str
    has_secret: bool
    redirect_url: str
    scopes: list[str]
    allowed_domains: list[str]
    auto_provision: bool
    default_role: str
    default_org: str
    group_sync: bool
    group_claim: str
    group_rules: list[GroupRule]
    private_networks: list[str]


class TestSSO(Asked):
    """Which provider is asked."""

    issuer: Url


class TestedSSO(Struct, kw_only=True, frozen=True):
    """What came of it."""

    status: Literal["ok", "error"]
    message: str


class AskProviders(Asked):
    """Whose ways to log in are asked for."""

    email: Annotated[str, Meta(max_length=254, description="finds the organisation of its domain")] | None = (
        None
    )
    org: Annotated[Ref, Meta(description="slug of an organisation")] | None = None


class OrgProvider(Struct, kw_only=True, frozen=True):
    """An organisation with a provider of its own."""

    org: Annotated[str, Meta(description="its slug")]
    login_url: str


class Providers(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The ways to log in."""

    local: Annotated[bool, Meta(description="with a password")]
    oidc: Annotated[bool, Meta(description="at the installation's identity provider")]
    login_url: Annotated[str, Meta(description="where that begins")] | UnsetType = UNSET
    organization: OrgProvider | UnsetType = UNSET


class Begin(Asked):
    """Where to sign on."""

    org: Annotated[Ref, Meta(description="slug of an organisation with a provider of its own")] | None = None


class Returned(Asked, forbid_unknown_fields=False):
    """What the browser brings back; providers add what they like (RFC 6749 section 4.1.2)."""

    code: Annotated[str, Meta(max_length=4096)] | None = None
    state: Annotated[str, Meta(max_length=512)] | None = None
    error: Annotated[str, Meta(max_length=512)] | None = None
    iss: Annotated[str, Meta(max_length=2048, description="RFC 9207")] | None = None
