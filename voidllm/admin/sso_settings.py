"""``/api/v1/orgs/{org_id}/sso`` and ``/api/v1/settings/sso``: identity providers as they are set up."""

from __future__ import annotations

from typing import Any

from voidllm.admin.access import READ, WRITE, missing
from voidllm.admin.declare import Call, Route
from voidllm.admin.fields import bad
from voidllm.admin.kinds import Nothing
from voidllm.admin.moments import moment
from voidllm.admin.oidc_metadata import discover
from voidllm.admin.sso_shapes import GroupRule, InstallationSSO, PutSSO, SSOView, TestedSSO, TestSSO
from voidllm.auth.oidc import Provider, SignOnRefused
from voidllm.auth.roles import ORG_ADMIN, SYSTEM_ADMIN
from voidllm.config.sso_rules import provider_url_fault
from voidllm.core.errors import Refusal
from voidllm.store import sso
from voidllm.store.sso import DomainTaken, OrgSSO, StoredRule


async def show(call: Call[Nothing, Nothing]) -> SSOView:
    """Show the provider of an organisation.

    :raises Refusal: 404 if there is none.
    """
    found = await call.read(sso.get_sso, call.org.id)
    if found is None:
        raise missing()
    return _view(found)


async def put(call: Call[Nothing, PutSSO]) -> SSOView:
    """Set the provider of an organisation.

    :raises Refusal: 400 by field, 409 for a domain that is another organisation's.
    """
    ask = call.body
    redirect_url = ask.redirect_url or _installation_redirect(call)
    _check(ask, redirect_url)

    def decide(old: OrgSSO | None) -> OrgSSO:
        if call.match is not None:
            if old is None:
                raise Refusal(412, "precondition_failed", "there is no provider yet")
            call.demand(_view(old))
        return OrgSSO(
            org_id=call.org.id,
            enabled=ask.enabled,
            issuer=ask.issuer,
            client_id=ask.client_id,
            client_secret=_secret(call, old),
            redirect_url=redirect_url,
            scopes=tuple(ask.scopes),
            allowed_domains=tuple(ask.allowed_domains),
            auto_provision=ask.auto_provision,
            default_role=ask.default_role,
            group_sync=ask.group_sync,
            group_claim=ask.group_claim,
            group_rules=tuple(
                StoredRule(rule.group, rule.role, rule.team, rule.team_role) for rule in ask.group_rules
            ),
            created_at_ms=call.now_ms if old is None else old.created_at_ms,
            updated_at_ms=call.now_ms,
        )

    try:
        await call.change(sso.put_sso, call.org.id, decide)
    except DomainTaken:
        message = "a mail domain leads to the provider of another organisation"
        raise Refusal(409, "conflict", message, param="allowed_domains") from None
    call.context.sign_on.directory.forget(call.org.id)
    return await show(call)  # type: ignore[arg-type]


async def remove(call: Call[Nothing, Nothing]) -> None:
    """Forget the provider of an organisation.

    :raises Refusal: 404 if there is none.
    """
    if await call.change(sso.delete_sso, call.org.id, lambda old: call.demand(_view(old))) is None:
        raise missing()
    call.context.sign_on.directory.forget(call.org.id)


async def test(call: Call[Nothing, TestSSO]) -> TestedSSO:
    """Ask a provider what it says of itself."""
    parts, issuer = call.context.sign_on, call.body.issuer
    if (fault := provider_url_fault(issuer)) is not None:
        raise bad(f"issuer {fault}", param="issuer")
    probe = Provider(call.org.id, issuer, "", "", "")
    try:
        async with parts.fetching(probe) as fetcher:
            await discover(fetcher, issuer)
    except SignOnRefused as refused:
        return TestedSSO(status="error", message=refused.detail)
    return TestedSSO(
        status="ok", message="the identity provider answers, and calls itself as the issuer says"
    )


async def show_installation(call: Call[Nothing, Nothing]) -> InstallationSSO:
    """Show what the configuration says."""
    settings = call.context.sign_on.settings
    own = settings.provider
    return InstallationSSO(
        enabled=own is not None,
        issuer="" if own is None else own.issuer,
        client_id="" if own is None else own.client_id,
        has_secret=own is not None and bool(own.client_secret),
        redirect_url="" if own is None else own.redirect_url,
        scopes=[] if own is None else list(own.scopes),
        allowed_domains=[] if own is None else list(own.allowed_domains),
        auto_provision=own is not None and own.auto_provision,
        default_role="member" if own is None else own.default_role,
        default_org=settings.default_org,
        group_sync=own is not None and own.group_sync,
        group_claim="" if own is None else own.group_claim,
        group_rules=[] if own is None else [_rule(rule) for rule in own.groups],
        private_networks=[str(network) for network in settings.private_networks],
    )


def _installation_redirect(call: Call[Any, Any]) -> str:
    own = call.context.sign_on.settings.provider
    if own is None:
        raise bad("redirect_url is required, as the installation has none of its own", param="redirect_url")
    return str(own.redirect_url)


def _check(ask: PutSSO, redirect_url: str) -> None:
    for name, url in (("issuer", ask.issuer), ("redirect_url", redirect_url)):
        if (fault := provider_url_fault(url)) is not None:
            raise bad(f"{name} {fault}", param=name)
    if ask.enabled and not ask.allowed_domains:
        message = "allowed_domains is required: the provider speaks for these mail domains, and no others"
        raise bad(message, param="allowed_domains")
    for index, rule in enumerate(ask.group_rules):
        if rule.role is None and rule.team is None:
            raise bad("a rule gives nothing: name a role or a team", param=f"group_rules[{index}]")


def _secret(call: Call[Nothing, PutSSO], old: OrgSSO | None) -> str | None:
    """Give the secret as it is to be stored.

    :raises Refusal: 400 if a stored one would be sent to somebody else than it was given for.
    """
    ask, secrets = call.body, call.context.secrets
    stored = None if old is None else old.client_secret
    if ask.client_secret:
        return secrets.seal(ask.client_secret, sso.TABLE, sso.COLUMN, call.org.id)
    if old is not None and stored is not None and (old.issuer, old.client_id) != (ask.issuer, ask.client_id):
        message = "client_secret is required again: the stored one was given for another issuer or client"
        raise bad(message, param="client_secret")
    return stored


def _rule(rule: Any) -> GroupRule:
    return GroupRule(group=rule.group, role=rule.role, team=rule.team, team_role=rule.team_role)


def _view(stored: OrgSSO) -> SSOView:
    return SSOView(
        enabled=stored.enabled,
        issuer=stored.issuer,
        client_id=stored.client_id,
        has_secret=stored.client_secret is not None,
        redirect_url=stored.redirect_url,
        scopes=list(stored.scopes),
        allowed_domains=list(stored.allowed_domains),
        auto_provision=stored.auto_provision,
        default_role=stored.default_role,
        group_sync=stored.group_sync,
        group_claim=stored.group_claim,
        group_rules=[_rule(rule) for rule in stored.group_rules],
        created_at=moment(stored.created_at_ms),
        updated_at=moment(stored.updated_at_ms),
    )


_ONE = "/api/v1/orgs/{org_id}/sso"

ROUTES = (
    Route(
        "GET",
        _ONE,
        "get_org_sso",
        "Show the identity provider of an organisation",
        show,
        SSOView,
        ORG_ADMIN,
        READ,
        tenant="org",
        tagged=True,
    ),
    Route(
        "PUT",
        _ONE,
        "put_org_sso",
        "Set the identity provider of an organisation",
        put,
        SSOView,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        body=PutSSO,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example={
            "issuer": "https://login.example.com",
            "client_id": "voidllm",
            "client_secret": "as registered there",
            "redirect_url": "https://voidllm.example.com/api/v1/auth/oidc/callback",
            "allowed_domains": ["example.com"],
            "auto_provision": True,
        },
        description=(
            "It speaks for people with an address in `allowed_domains` who belong to this organisation and to"
            " no other one. An empty `client_secret` keeps the one that there is. Providers on addresses that"
            " are not public are refused, unless `settings.sso.private_networks` has them."
        ),
    ),
    Route(
        "DELETE",
        _ONE,
        "delete_org_sso",
        "Forget the identity provider of an organisation",
        remove,
        None,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        status=204,
        guarded=True,
    ),
    Route(
        "POST",
        f"{_ONE}/test",
        "test_org_sso",
        "Ask an identity provider what it says of itself",
        test,
        TestedSSO,
        ORG_ADMIN,
        WRITE,
        tenant="org",
        body=TestSSO,
        example={"issuer": "https://login.example.com"},
    ),
    Route(
        "GET",
        "/api/v1/settings/sso",
        "show_sso",
        "Show single sign-on of the installation, as the configuration has it",
        show_installation,
        InstallationSSO,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        stored=True,
    ),
)
