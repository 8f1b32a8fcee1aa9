"""Single sign-on with OpenID Connect: what an identity provider is asked for, and what it may decide."""

from __future__ import annotations

from typing import Mapping

from attrs import field, frozen

from voidllm.core.errors import VoidLLMError

#: Why a sign-on ended without a session, for the page that people come back to.
REASONS: Mapping[str, str] = {
    "invalid_state": "it was not begun in this browser, is too old, or was used before",
    "missing_code": "the identity provider sent no code",
    "exchange_failed": "the identity provider cannot be reached, or what it says is not valid",
    "invalid_email": "the identity provider gives no verified e-mail address in plain ASCII",
    "domain_not_allowed": "the domain of the e-mail address is not let in",
    "not_provisioned": "there is no such user, and none is created",
    "provision_failed": "the e-mail address belongs to an account that this provider may not speak for",
    "lookup_failed": "the database or the settings of single sign-on cannot be used now",
    "auth_failed": "the identity provider or the gateway does not let this person in",
}


class SignOnRefused(VoidLLMError):
    """Nobody is signed on.

    :ivar reason: one of :data:`REASONS`.
    :ivar detail: for the log; a fixed text of ours, never bytes from outside.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or REASONS[reason])
        self.reason = reason
        self.detail = detail or REASONS[reason]


@frozen
class GroupRule:
    """What being in a group gives.

    :ivar group: its name as the provider writes it.
    :ivar role: in the organisation, ``member`` or ``org_admin``; ``None`` says nothing of it.
    :ivar team: slug of a team of the organisation, or ``None``.
    :ivar team_role: in that team, ``member`` or ``team_admin``.
    """

    group: str
    role: str | None = None
    team: str | None = None
    team_role: str = "member"


@frozen
class Provider:
    """One identity provider, as it was set up here.

    :ivar org_id: the organisation whose provider it is, ``None`` for the installation's own.
    :ivar redirect_url: where it sends people back to, as registered there.
    :ivar allowed_domains: lower-case mail domains; empty lets in every one.
    :ivar auto_provision: create users that are not known yet.
    :ivar default_role: what such users are in the organisation.
    :ivar group_sync: make memberships follow the groups at every sign-on.
    """

    org_id: str | None
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_url: str
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    allowed_domains: tuple[str, ...] = ()
    auto_provision: bool = False
    default_role: str = "member"
    group_sync: bool = False
    group_claim: str = "groups"
    groups: tuple[GroupRule, ...] = ()

    @property
    def scope(self) -> str:
        """What is asked for; ``openid`` always is."""
        return " ".join(dict.fromkeys(("openid", *self.scopes)))


@frozen
class Person:
    """Whom an identity provider vouches for.

    :ivar subject: tells this person from every other one of the same issuer.
    :ivar email: verified, ASCII, lower case.
    """

    issuer: str
    subject: str
    email: str
    name: str
    groups: frozenset[str] = frozenset()
