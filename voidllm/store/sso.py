"""Identity providers of organisations, the mail domains that lead to them, and sign-ons that came back."""

from __future__ import annotations

import json
from typing import Any, Callable

from attrs import asdict, evolve, field, frozen

from voidllm.core.errors import StoreConflict
from voidllm.store.changes import Changed
from voidllm.store.orgs import lock_org
from voidllm.store.statements import PAGE, Op, Row, q

TABLE = "org_sso"
COLUMN = "client_secret"


@frozen
class StoredRule:
    """What being in a group gives; see :class:`voidllm.auth.oidc.GroupRule`."""

    group: str
    role: str | None = None
    team: str | None = None
    team_role: str = "member"


@frozen
class OrgSSO:
    """The identity provider of an organisation.

    :ivar client_secret: sealed; ``None`` for none.
    """

    org_id: str
    enabled: bool
    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    redirect_url: str
    scopes: tuple[str, ...]
    allowed_domains: tuple[str, ...]
    auto_provision: bool
    default_role: str
    group_sync: bool
    group_claim: str
    group_rules: tuple[StoredRule, ...]
    created_at_ms: int
    updated_at_ms: int


class DomainTaken(StoreConflict):
    """A mail domain already leads to the provider of another organisation."""


_SELECT = (
    "SELECT s.org_id, s.enabled, s.issuer, s.client_id, s.client_secret, s.redirect_url, s.scopes,"
    " s.auto_provision, s.default_role, s.group_sync, s.group_claim, s.group_rules, s.created_at_ms,"
    " s.updated_at_ms FROM org_sso s"
    " JOIN organizations o ON o.id = s.org_id AND o.deleted_at_ms IS NULL"
)


def get_sso(org_id: str) -> Op[OrgSSO | None]:
    """Read the provider of an organisation."""
    rows = yield q(_SELECT + " WHERE s.org_id = ?", org_id)
    if not rows:
        return None
    domains = yield q("SELECT domain FROM sso_domains WHERE org_id = ? ORDER BY domain", org_id)
    return _sso(rows[0], tuple(domain for (domain,) in domains))


def find_sso(slug: str) -> Op[OrgSSO | None]:
    """Read the provider of the organisation with this slug, if people can sign on with it."""
    rows = yield q(_SELECT + " WHERE o.slug = ? AND s.enabled = 1", slug)
    return (yield from get_sso(rows[0][0])) if rows else None


def slug_of_domain(domain: str) -> Op[str | None]:
    """Give the slug of the organisation to whose provider a mail domain leads."""
    rows = yield q(
        "SELECT o.slug FROM sso_domains d JOIN org_sso s ON s.org_id = d.org_id AND s.enabled = 1"
        " JOIN organizations o ON o.id = d.org_id AND o.deleted_at_ms IS NULL WHERE d.domain = ?",
        domain,
    )
    return rows[0][0] if rows else None


def put_sso(org_id: str, decide: Callable[[OrgSSO | None], OrgSSO]) -> Op[Changed[OrgSSO] | None]:
    """Set the provider of an organisation; nothing without the organisation, or if it is all the same.

    :param decide: says what it shall be, by what it is while nobody else can change it.
    :raises DomainTaken: if a domain leads to another organisation already.
    """
    if not (yield from lock_org(org_id)):
        return None
    old = yield from get_sso(org_id)
    new = decide(old)
    new = evolve(new, allowed_domains=tuple(sorted(set(new.allowed_domains))))
    if old is not None and evolve(new, updated_at_ms=old.updated_at_ms) == old:
        return None
    yield from _write(new)
    yield from _lead(new)
    return Changed(
        new,
        "update" if old is not None else "create",
        "sso_config",
        org_id,
        org_id,
        before=None if old is None else _facts(old),
        after={**_facts(new), **_secret_note(old, new)},
    )


def delete_sso(org_id: str, check: Callable[[OrgSSO], None]) -> Op[Changed[OrgSSO] | None]:
    """Forget the provider of an organisation and who people were there; nothing if there is none.

    :param check: raises if it must not be forgotten.
    """
    old = (yield from get_sso(org_id)) if (yield from lock_org(org_id)) else None
    if old is None:
        return None
    check(old)
    yield q("DELETE FROM sso_domains WHERE org_id = ?", org_id)
    yield q("DELETE FROM org_sso WHERE org_id = ?", org_id)
    yield q("DELETE FROM sso_identities WHERE provider = ?", org_id)
    return Changed(old, "delete", "sso_config", org_id, org_id, before=_facts(old))


def use_once(state: str, now_ms: int, expires_at_ms: int) -> Op[bool]:
    """Use a sign-on up; ``False`` if it was used before.

    :param state: a digest.
    """
    yield q(
        "DELETE FROM sso_used WHERE state IN"
        " (SELECT state FROM sso_used WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)",
        now_ms,
        PAGE,
    )
    rows = yield q(
        "INSERT INTO sso_used (state, expires_at_ms) VALUES (?, ?)"
        " ON CONFLICT (state) DO NOTHING RETURNING state",
        state,
        expires_at_ms,
    )
    return bool(rows)


def _write(new: OrgSSO) -> Op[None]:
    yield q(
        "INSERT INTO org_sso (org_id, enabled, issuer, client_id, client_secret, redirect_url, scopes,"
        " auto_provision, default_role, group_sync, group_claim, group_rules, created_at_ms, updated_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org_id) DO UPDATE SET"
        " enabled = excluded.enabled, issuer = excluded.issuer, client_id = excluded.client_id,"
        " client_secret = excluded.client_secret, redirect_url = excluded.redirect_url,"
        " scopes = excluded.scopes, auto_provision = excluded.auto_provision,"
        " default_role = excluded.default_role, group_sync = excluded.group_sync,"
        " group_claim = excluded.group_claim, group_rules = excluded.group_rules,"
        " updated_at_ms = excluded.updated_at_ms",
        new.org_id,
        int(new.enabled),
        new.issuer,
        new.client_id,
        new.client_secret,
        new.redirect_url,
        json.dumps(new.scopes),
        int(new.auto_provision),
        new.default_role,
        int(new.group_sync),
        new.group_claim,
        json.dumps([asdict(rule) for rule in new.group_rules]),
        new.created_at_ms,
        new.updated_at_ms,
    )


def _lead(new: OrgSSO) -> Op[None]:
    """Lead the domains of a provider to it, and to nobody else."""
    yield q("DELETE FROM sso_domains WHERE org_id = ?", new.org_id)
    for domain in new.allowed_domains:
        # Of an organisation that is gone nothing stands in the way.
        yield q(
            "DELETE FROM sso_domains WHERE domain = ? AND org_id IN"
            " (SELECT id FROM organizations WHERE deleted_at_ms IS NOT NULL)",
            domain,
        )
        taken = yield q(
            "INSERT INTO sso_domains (domain, org_id) VALUES (?, ?)"
            " ON CONFLICT (domain) DO NOTHING RETURNING domain",
            domain,
            new.org_id,
        )
        if not taken:
            raise DomainTaken("a mail domain is another organisation's")


def _facts(sso: OrgSSO) -> dict[str, Any]:
    facts = asdict(sso)
    for name in ("client_secret", "created_at_ms", "updated_at_ms"):
        del facts[name]
    facts["has_secret"] = sso.client_secret is not None
    for name in ("scopes", "allowed_domains", "group_rules"):
        facts[name] = list(facts[name])
    return facts


def _secret_note(old: OrgSSO | None, new: OrgSSO) -> dict[str, Any]:
    changed = old is not None and new.client_secret not in (None, old.client_secret)
    return {"client_secret": "changed"} if changed else {}


def _sso(row: Row, domains: tuple[str, ...]) -> OrgSSO:
    (
        org_id,
        enabled,
        issuer,
        client_id,
        secret,
        redirect_url,
        scopes,
        auto,
        role,
        sync,
        claim,
        rules,
        *times,
    ) = row
    return OrgSSO(
        org_id,
        bool(enabled),
        issuer,
        client_id,
        secret,
        redirect_url,
        tuple(json.loads(scopes)),
        domains,
        bool(auto),
        role,
        bool(sync),
        claim,
        tuple(StoredRule(**rule) for rule in json.loads(rules)),
        *times,
    )
