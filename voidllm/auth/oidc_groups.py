"""Memberships as groups of an identity provider want them; pure."""

from __future__ import annotations

from typing import Mapping

from voidllm.auth.oidc import Provider
from voidllm.auth.roles import MEMBER, ORG_ADMIN, TEAM_ADMIN, rank
from voidllm.store.sso_sign_on import Memberships


def wanted_memberships(
    provider: Provider, groups: frozenset[str], slugs: Mapping[str, str], now: Memberships
) -> Memberships:
    """Give what somebody shall be after a sign-on.

    Rules decide alone over the teams that they name, and over the role if any of them names one.
    Without rules a group stands for the team whose slug it is. Whatever else somebody was given by
    hand stays; what groups gave goes with the group.

    :param slugs: slugs to ids of all teams of the organisation.
    """
    role = now.role or provider.default_role
    if not provider.group_sync:
        return Memberships(role, now.teams, now.given)
    if any(rule.role is not None for rule in provider.groups):
        roles = [rule.role for rule in provider.groups if rule.role is not None and rule.group in groups]
        role = max(roles, key=rank, default=provider.default_role)
    named = {slugs[rule.team] for rule in provider.groups if rule.team is not None and rule.team in slugs}
    teams = {team: kept for team, kept in now.teams.items() if team not in named | now.given}
    # Whoever was put into a team by hand is not there by a group of its name.
    fresh = {team: new for team, new in _teams(provider, groups, slugs).items() if team not in teams}
    return Memberships(role, {**teams, **fresh}, frozenset(fresh))


def _teams(provider: Provider, groups: frozenset[str], slugs: Mapping[str, str]) -> dict[str, str]:
    if not provider.groups:
        return {slugs[group]: MEMBER for group in groups if group in slugs}
    found: dict[str, str] = {}
    for rule in provider.groups:
        if rule.team is not None and rule.group in groups and rule.team in slugs:
            team = slugs[rule.team]
            found[team] = max(found.get(team, MEMBER), rule.team_role, key=rank)
    return found


#: What rules may give; nobody becomes a system administrator by a group.
ROLES = (MEMBER, ORG_ADMIN)
TEAM_ROLES = (MEMBER, TEAM_ADMIN)
