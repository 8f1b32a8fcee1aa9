"""``settings``: keys of the installation, sign-on, and the privacy filter."""

# ruff: noqa: RUF009 - key() and section() declare attrs fields
from __future__ import annotations

from typing import Annotated

from attrs import frozen

from voidllm.config.durations import Duration
from voidllm.config.fields import OneOf, Range, key, section
from voidllm.config.kinds import Line, Name, Network, Secret, ms


@frozen(kw_only=True)
class Bootstrap:
    """What the first start on an empty database creates."""

    org_name: Name = key("Default", "Name of the organisation.")
    org_slug: Name = key("", "Its short name; default: made of the name.")
    admin_email: Name = key("admin@voidllm.local", "Address of the first administrator.")


@frozen(kw_only=True)
class GroupRule:
    """What being in a group gives in the organisation."""

    group: Name = key("", "Name of the group, as the provider writes it.")
    role: Annotated[str, OneOf(("", "member", "org_admin"))] = key("", "Role in the organisation.")
    team: Name = key("", "Slug of a team of the organisation.")
    team_role: Annotated[str, OneOf(("member", "team_admin"))] = key("member", "Role in that team.")


@frozen(kw_only=True)
class Sessions:
    """How long people stay logged in."""

    idle_timeout: Annotated[Duration, Range(ms("5m"), ms("90d"), ms("12h"))] = key(
        ms("12h"), "Longest time without a request."
    )
    max_lifetime: Annotated[Duration, Range(ms("5m"), ms("90d"), ms("7d"))] = key(
        ms("7d"), "Longest time in all, however much a session is used."
    )


@frozen(kw_only=True)
class SSO:
    """Single sign-on with OpenID Connect."""

    enabled: bool = key(False, "Offer single sign-on.")
    issuer: Line = key("", "URL of the identity provider, exactly as it calls itself.", show="url")
    client_id: Name = key("", "As registered there.")
    client_secret: Secret = key("", "As registered there.", show="secret")
    redirect_url: Line = key(
        "", "Where the provider sends people back to: this gateway's `/api/v1/auth/oidc/callback`."
    )
    scopes: tuple[Name, ...] = key(("openid", "email", "profile"), "What is asked for.")
    allowed_domains: tuple[Name, ...] = key((), "Mail domains let in; empty lets in every one.")
    auto_provision: bool = key(False, "Create users at their first sign-on.")
    default_role: Annotated[str, OneOf(("member", "team_admin"))] = key(
        "member", "Role of such users; `team_admin` is the same as `member`, as teams have their own roles."
    )
    default_org: Name = key("", "Slug of the organisation of such users; default: the oldest one.")
    group_sync: bool = key(
        False, "Make memberships follow the groups at each sign-on; what a group gave goes with it."
    )
    group_claim: Name = key("groups", "Claim that holds the groups.")
    group_rules: tuple[GroupRule, ...] = key(
        (), "What groups give. Without any, a group stands for the team whose slug it is."
    )
    ca_file: Line = key("", "PEM file of the authorities that sign providers' certificates.", path=True)
    private_networks: tuple[Network, ...] = key(
        (), "Networks that providers of organisations may be in, besides public addresses."
    )


@frozen(kw_only=True)
class PIIPattern:
    """A pattern of one's own."""

    type: Name = key("", "Name of the kind of data.")
    regexp: Line = key("", "What it looks like.", show="secret")


@frozen(kw_only=True)
class PIITerms:
    """A list of words of one's own."""

    type: Name = key("", "Name of the kind of data.")
    values: tuple[Line, ...] = key((), "The words.", show="secret")


@frozen(kw_only=True)
class GazetteerOptions:
    """How words are compared."""

    case_insensitive: bool = key(True, "Upper and lower case are the same.")


@frozen(kw_only=True)
class Gazetteer:
    """Lists of known words."""

    enabled: bool = key(False, "Look for known words.")
    packs: tuple[Name, ...] = key((), "company-forms, de-cities, de-firstnames.")
    dirs: tuple[Line, ...] = key((), "Folders with lists.")
    terms: tuple[PIITerms, ...] = key((), "Words given here.")
    options: GazetteerOptions = section(GazetteerOptions)


@frozen(kw_only=True)
class PII:
    """The filter for personal data."""

    enabled: bool = key(False, "Filter personal data.")
    action: Annotated[str, OneOf(("pseudonymize",))] = key("pseudonymize", "What is done with it.")
    patterns: tuple[PIIPattern, ...] = key((), "Patterns of one's own.")
    gazetteer: Gazetteer = section(Gazetteer)
