"""All routes of the API, resource by resource."""

from __future__ import annotations

from voidllm.admin import (
    auth,
    configuration,
    description,
    keys,
    me,
    members,
    orgs,
    passwords,
    service_accounts,
    sessions,
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
    *orgs.ROUTES,
    *members.ROUTES,
    *teams.ROUTES,
    *team_members.ROUTES,
    *service_accounts.ROUTES,
    *users.ROUTES,
    *keys.ROUTES,
    *usage.ROUTES,
    *configuration.ROUTES,
    *description.ROUTES,
)

#: What there is on the control socket as well.
OPERATORS: tuple[Route, ...] = system.ROUTES
