"""What the database says of itself and of how much there is in it."""

from __future__ import annotations

from attrs import frozen

from voidllm.store import state
from voidllm.store.statements import Op, q

_BYTES = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgres": "SELECT pg_database_size(current_database())",
}
_COUNTS = (
    "SELECT (SELECT count(*) FROM organizations WHERE deleted_at_ms IS NULL),"
    " (SELECT count(*) FROM teams WHERE deleted_at_ms IS NULL),"
    " (SELECT count(*) FROM users WHERE deleted_at_ms IS NULL),"
    " (SELECT count(*) FROM api_keys WHERE revoked_at_ms IS NULL),"
    " (SELECT seq FROM audit_head)"
)


@frozen
class Facts:
    """How much there is.

    :ivar change_version: counts administrative changes.
    :ivar audit_entries: number of the newest entry of the audit log.
    """

    bytes: int
    change_version: int
    orgs: int
    teams: int
    users: int
    keys: int
    audit_entries: int


def facts(driver: str) -> Op[Facts]:
    """Read them.

    :param driver: ``sqlite`` or ``postgres``.
    """
    ((size,),) = yield q(_BYTES[driver])
    version = yield from state.change_version()
    ((orgs, teams, users, keys, entries),) = yield q(_COUNTS)
    return Facts(int(size), version, orgs, teams, users, keys, entries)
