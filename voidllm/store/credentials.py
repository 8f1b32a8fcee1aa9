"""Provider secrets with a name, shared by deployments."""

from __future__ import annotations

from typing import Mapping

from attrs import evolve, frozen

from voidllm.core.errors import StoreRejected
from voidllm.store import catalogue_version
from voidllm.store.changes import Changed
from voidllm.store.model_records import StoredCredential
from voidllm.store.models import TOUCHED
from voidllm.store.pages import Condition, Page, contains, paged
from voidllm.store.statements import Op, Row, q

MOST = 1000

_SELECT = (
    "SELECT c.id, c.name, c.provider, c.api_key, c.created_at_ms, c.updated_at_ms, c.revision,"
    " (SELECT count(*) FROM deployments d WHERE d.credential_id = c.id) FROM credentials c"
)
_SORTS: Mapping[str, str] = {"created_at": "c.id", "name": "c.name"}


@frozen
class CredentialFilter:
    """Which credentials a list is of; ``None`` restricts nothing."""

    search: str | None = None
    provider: str | None = None


def list_credentials(wanted: CredentialFilter, page: Page) -> Op[list[StoredCredential]]:
    """Read one page of credentials.

    :raises StoreRejected: if the list cannot be sorted like that.
    """
    where: list[Condition] = []
    if wanted.search is not None:
        where.append(contains(wanted.search, "c.name"))
    if wanted.provider is not None:
        where.append(("c.provider = ?", (wanted.provider,)))
    rows = yield paged(_SELECT, where, _SORTS, "c.id", page)
    return [StoredCredential(*row) for row in rows]


def get_credential(ref: str) -> Op[StoredCredential | None]:
    """Read the credential with this id or name."""
    rows = yield q(_SELECT + " WHERE c.id = ? OR c.name = ?", ref, ref)
    return StoredCredential(*rows[0]) if len(rows) == 1 else None


def credential_names(ids: frozenset[str]) -> Op[Mapping[str, str]]:
    """Read what credentials are called."""
    found: dict[str, str] = {}
    for one in sorted(ids):
        rows = yield q("SELECT id, name FROM credentials WHERE id = ?", one)
        found.update(dict(rows))
    return found


def create_credential(new: StoredCredential) -> Op[Changed[StoredCredential]]:
    """Keep a new credential.

    :raises StoreConflict: if the name is taken.
    :raises StoreRejected: if there are too many.
    """
    rows = yield q("SELECT count(*) FROM credentials")
    if rows[0][0] >= MOST:
        raise StoreRejected("there are too many credentials")
    yield q(
        "INSERT INTO credentials (id, name, provider, api_key, created_at_ms, updated_at_ms, revision)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        *_values(new),
    )
    return Changed(new, "create", "credential", new.id, after=new.plain())


def change_credential(old: StoredCredential, new: StoredCredential) -> Op[Changed[StoredCredential] | None]:
    """Put a credential in the place of what it was; ``None`` if somebody has changed it since.

    :raises StoreConflict: if the name is taken.
    """
    made = evolve(new, revision=old.revision + 1)
    rows = yield q(
        "UPDATE credentials SET name = ?, provider = ?, api_key = ?, updated_at_ms = ?, revision = ?"
        " WHERE id = ? AND revision = ? RETURNING id",
        made.name,
        made.provider,
        made.api_key,
        made.updated_at_ms,
        made.revision,
        old.id,
        old.revision,
    )
    if not rows:
        return None
    yield from catalogue_version.grow()
    after = dict(made.plain())
    if old.api_key != made.api_key:
        after["api_key"] = "changed"
    return Changed(made, "update", "credential", made.id, before=old.plain(), after=after, touched=TOUCHED)


def delete_credential(old: StoredCredential) -> Op[Changed[bool] | None]:
    """Delete a credential; ``None`` if somebody has changed or deleted it since.

    :raises StoreConflict: if deployments have it.
    """
    rows = yield q("DELETE FROM credentials WHERE id = ? AND revision = ? RETURNING id", old.id, old.revision)
    if not rows:
        return None
    return Changed(True, "delete", "credential", old.id, before=old.plain())


def _values(one: StoredCredential) -> Row:
    return (
        one.id,
        one.name,
        one.provider,
        one.api_key,
        one.created_at_ms,
        one.updated_at_ms,
        one.revision,
    )
