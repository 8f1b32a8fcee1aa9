"""What a snapshot is built from, read in one transaction."""

from __future__ import annotations

from voidllm.store import access_rows, keys, state, tenants
from voidllm.store.records import StoredAccess
from voidllm.store.statements import Op


def load(now_ms: int) -> Op[StoredAccess]:
    """Read all of it, in pages, so that no single result is long."""
    version = yield from state.change_version()
    orgs = yield from tenants.all_orgs()
    teams = yield from tenants.all_teams()
    live = yield from keys.live_keys(now_ms)
    access = yield from access_rows.all_access()
    return StoredAccess(
        version=version,
        orgs=orgs,
        teams=teams,
        keys=keys.with_models(live, access),
        org_aliases=(yield from access_rows.all_aliases("org")),
        team_aliases=(yield from access_rows.all_aliases("team")),
        access=access,
        system_limits=(yield from tenants.system_limits()),
    )
