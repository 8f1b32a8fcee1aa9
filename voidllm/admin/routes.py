"""All routes of the API, resource by resource."""

from __future__ import annotations

from voidllm.admin import (
    access_lists,
    aliases,
    audit,
    auth,
    break_glass,
    configuration,
    credentials,
    deployments,
    description,
    encryption,
    invites,
    keys,
    limits,
    me,
    models,
    members,
    orgs,
    passwords,
    service_accounts,
    sessions,
    sso,
    sso_settings,
    system,
    team_members,
    teams,
    totp,
    usage,
    users,
)
from voidllm.admin.declare import Route

ROUTES: tuple[Route, ...] = (
    *auth.ROUTES,
    *me.ROUTES,
    *sessions.ROUTES,
    *passwords.ROUTES,
    *totp.ROUTES,
    *sso.ROUTES,
    *sso_settings.ROUTES,
    *invites.ROUTES,
    *orgs.ROUTES,
    *members.ROUTES,
    *teams.ROUTES,
    *team_members.ROUTES,
    *service_accounts.ROUTES,
    *users.ROUTES,
    *keys.ROUTES,
    *limits.ROUTES,
    *access_lists.ROUTES,
    *aliases.ROUTES,
    *models.ROUTES,
    *deployments.ROUTES,
    *credentials.ROUTES,
    *usage.ROUTES,
    *audit.ROUTES,
    *configuration.ROUTES,
    *description.ROUTES,
)

#: What there is on the control socket as well.
OPERATORS: tuple[Route, ...] = (*system.ROUTES, *encryption.ROUTES, *break_glass.ROUTES)
