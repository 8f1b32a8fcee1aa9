"""Single values: small facts by name, the change version, and the first contents."""

from __future__ import annotations

from voidllm.store import keys, tenants
from voidllm.store.records import Bootstrap
from voidllm.store.statements import Op, q

# Both dialects: a change's transaction holds this row until it commits, so versions become
# visible in their order.
_BUMP = "UPDATE change_version SET version = version + 1 WHERE id = 1 RETURNING version"

_IS_EMPTY = "SELECT NOT (EXISTS (SELECT 1 FROM organizations) OR EXISTS (SELECT 1 FROM users))"


def change_version() -> Op[int]:
    """Read the version of what snapshots are built from."""
    rows = yield q("SELECT version FROM change_version WHERE id = 1")
    return int(rows[0][0])


def bump() -> Op[int]:
    """Count one change; last in its transaction, because it makes other changes wait."""
    rows = yield q(_BUMP)
    return int(rows[0][0])


def meta_get(name: str) -> Op[str | None]:
    """Read the value kept under ``name``."""
    rows = yield q("SELECT value FROM meta WHERE name = ?", name)
    return str(rows[0][0]) if rows else None


def meta_set(name: str, value: str) -> Op[None]:
    """Keep ``value`` under ``name``."""
    yield q(
        "INSERT INTO meta (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name,
        value,
    )


def is_empty() -> Op[bool]:
    """Say whether nobody has ever been created here."""
    rows = yield q(_IS_EMPTY)
    return bool(rows[0][0])


def bootstrap(seed: Bootstrap, now_ms: int) -> Op[bool]:
    """Create the first organisation, administrator and key, unless there is something already."""
    if not (yield from is_empty()):
        return False
    # Of two processes that start at the same time, one waits here, then looks again.
    yield from bump()
    if not (yield from is_empty()):
        return False
    yield from tenants.create_org(seed.org)
    yield from tenants.create_user(seed.admin, seed.org.id, seed.admin_role)
    yield from keys.create_key(seed.key, now_ms)
    for name, value in seed.meta:
        yield from meta_set(name, value)
    return True


def ping() -> Op[None]:
    """Ask for nothing, to see whether an answer comes."""
    yield q("SELECT 1")
