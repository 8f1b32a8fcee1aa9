"""Which identity provider is meant: the installation's, or an organisation's own."""

from __future__ import annotations

from typing import Any

from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Call
from voidllm.auth.oidc import GroupRule, Provider
from voidllm.auth.roles import MEMBER
from voidllm.store import sso
from voidllm.store.sso import OrgSSO


def provider_of(context: AdminContext, stored: OrgSSO) -> Provider:
    """Make a provider of what is stored of one.

    :raises StateError: if its secret cannot be read.
    """
    secret = ""
    if stored.client_secret is not None:
        secret = context.secrets.open(stored.client_secret, sso.TABLE, sso.COLUMN, stored.org_id)
    return Provider(
        org_id=stored.org_id,
        issuer=stored.issuer,
        client_id=stored.client_id,
        client_secret=secret,
        redirect_url=stored.redirect_url,
        scopes=stored.scopes,
        allowed_domains=stored.allowed_domains,
        auto_provision=stored.auto_provision,
        # Who leads a team is written with the team.
        default_role=MEMBER,
        group_sync=stored.group_sync,
        group_claim=stored.group_claim,
        groups=tuple(
            GroupRule(rule.group, rule.role, rule.team, rule.team_role) for rule in stored.group_rules
        ),
    )


async def find_provider(call: Call[Any, Any], org_id: str | None) -> Provider | None:
    """Find the provider of an organisation by its id, or the installation's; ``None`` if there is none.

    :raises StateError: if its secret cannot be read.
    """
    if org_id is None:
        return call.context.sign_on.settings.provider
    stored = await call.read(sso.get_sso, org_id)
    return provider_of(call.context, stored) if stored is not None and stored.enabled else None
