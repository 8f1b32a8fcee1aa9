"""A snapshot as anybody would build it: read everything, join it, forget it."""

from __future__ import annotations

from voidllm.core.principal import Principal, Scope
from voidllm.core.snapshot import Aliases, Snapshot
from voidllm.snapshots import Catalogue
from voidllm.store.records import StoredAccess


def naive_snapshot(version: int, stored: StoredAccess, catalogue: Catalogue) -> Snapshot:
    """Join what the store knows with what the catalogue says."""
    orgs = {org.id: org for org in stored.orgs}
    teams = {team.id: team for team in stored.teams}
    keys: dict[bytes, Principal] = {}
    for key in stored.keys:
        org = orgs.get(key.org_id)
        if org is None or (key.team_id is not None and key.team_id not in teams):
            continue
        scopes = [Scope("key", key.id, key.limits)]
        lists = [key.models]
        if key.team_id is not None:
            scopes.append(Scope("team", key.team_id, teams[key.team_id].limits))
            lists.append(stored.access.get(("team", key.team_id)))
        scopes.append(Scope("org", org.id, org.limits))
        scopes.append(Scope("system", "", stored.system_limits))
        lists.append(stored.access.get(("org", key.org_id)))
        keys[bytes.fromhex(key.hash)] = Principal(
            key_id=key.id,
            key_type=key.key_type,
            key_name=key.name,
            org_id=key.org_id,
            team_id=key.team_id,
            user_id=key.user_id,
            service_account_id=key.service_account_id,
            role=key.role,
            scopes=key.scopes,
            expires_at_ms=key.expires_at_ms,
            counted=tuple(scope for scope in scopes if not scope.limits.unlimited),
            access=tuple(dict.fromkeys(allowed for allowed in lists if allowed is not None)),
            networks=tuple(key.addresses),
        )
    return Snapshot(
        version, keys, catalogue.models, Aliases(stored.team_aliases, stored.org_aliases, catalogue.aliases)
    )
