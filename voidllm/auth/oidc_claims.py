"""Who somebody is and what they belong to, from what an identity provider says."""

from __future__ import annotations

import re
from typing import Any, Mapping

from voidllm.auth.oidc import Person, Provider, SignOnRefused

#: Claims that the userinfo endpoint is asked for if the ID token lacks them.
NEEDED = ("email", "email_verified")

_MAX_SUBJECT = 255
_MAX_EMAIL = 254
_MAX_NAME = 200
_MAX_GROUPS = 1000
_MAX_GROUP = 256
_EMAIL = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)


def plain_email(text: str) -> str | None:
    """Give an address in the one spelling that is kept, or ``None`` if it is none in plain ASCII.

    Letters of other scripts that look alike would make one person's address out of another's.
    """
    folded = text.lower() if text.isascii() else ""
    return folded if len(folded) <= _MAX_EMAIL and _EMAIL.fullmatch(folded) else None


def domain_of(email: str) -> str:
    """Give the domain of a plain address."""
    return email.rpartition("@")[2]


def is_complete(claims: Mapping[str, Any], provider: Provider) -> bool:
    """Say whether nothing more needs to be asked for."""
    wanted = (*NEEDED, provider.group_claim) if provider.group_sync else NEEDED
    return all(name in claims for name in wanted)


def complete(claims: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the userinfo endpoint says to the claims of an ID token, which go first.

    :raises SignOnRefused: if it is about somebody else.
    """
    if more.get("sub") != claims["sub"]:
        raise SignOnRefused("exchange_failed", "the userinfo endpoint speaks of somebody else")
    found = {**more, **claims}
    if "email" in more and more["email"] != claims.get("email", more["email"]):
        # What is said of one address says nothing of the other one.
        found.pop("email_verified", None)
        if "email_verified" in claims:
            found["email_verified"] = claims["email_verified"]
    return found


def person_of(claims: Mapping[str, Any], provider: Provider) -> Person:
    """Read who somebody is, if they may come in at all.

    :param claims: of a valid ID token.
    :raises SignOnRefused: ``invalid_email`` or ``domain_not_allowed``; ``exchange_failed`` without
        a usable subject.
    """
    subject, email = claims.get("sub"), claims.get("email")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
        raise SignOnRefused("exchange_failed", "the subject is not usable")
    address = plain_email(email) if isinstance(email, str) else None
    if address is None:
        raise SignOnRefused("invalid_email")
    if claims.get("email_verified") is not True and claims.get("email_verified") != "true":
        raise SignOnRefused("invalid_email", "the e-mail address is not verified")
    if provider.allowed_domains and domain_of(address) not in provider.allowed_domains:
        raise SignOnRefused("domain_not_allowed")
    return Person(provider.issuer, subject, address, _name(claims, address), _groups(claims, provider))


def _name(claims: Mapping[str, Any], email: str) -> str:
    name = claims.get("name")
    if isinstance(name, str) and 0 < len(name.strip()) <= _MAX_NAME and name.isprintable():
        return name.strip()
    return email.partition("@")[0]


def _groups(claims: Mapping[str, Any], provider: Provider) -> frozenset[str]:
    """Read the groups; no word of them means none, as most providers write it."""
    if not provider.group_sync:
        return frozenset()
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, dict) and provider.group_claim in elsewhere:
        # OpenID Connect Core 5.6.2. To take it for none would take away everything.
        raise SignOnRefused("exchange_failed", "the groups are to be asked for elsewhere")
    said = claims.get(provider.group_claim, [])
    said = [said] if isinstance(said, str) else said
    if not isinstance(said, list) or len(said) > _MAX_GROUPS:
        raise SignOnRefused("exchange_failed", "the groups are no list, or too many")
    if not all(isinstance(group, str) and len(group) <= _MAX_GROUP for group in said):
        raise SignOnRefused("exchange_failed", "a group is no text, or too long")
    return frozenset(said)
