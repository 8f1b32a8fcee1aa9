"""The audit log: entries chained by hashes, so that none can be altered or taken out unseen.

An entry's hash is the SHA-256 of the hash before it and of everything that the entry says.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping, Sequence

from attrs import frozen

from voidllm.core.errors import Refusal
from voidllm.store import audit_diff
from voidllm.store.statements import Op, Row, q

#: Everything of an entry but its hash, in the order that the hash covers.
COLUMNS = (
    "seq",
    "id",
    "at_ms",
    "org_id",
    "team_id",
    "actor_type",
    "actor_id",
    "actor_name",
    "actor_key_id",
    "on_behalf_of",
    "action",
    "resource_type",
    "resource_id",
    "status",
    "error_code",
    "address",
    "request_id",
    "diff",
)

_INSERT = (
    f"INSERT INTO audit_log ({', '.join(COLUMNS)}, hash)"  # noqa: S608
    f" VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
)


@frozen
class Author:
    """Who does something, and by which request.

    :ivar kind: ``user``, ``key``, ``service_account``, ``operator``, ``system`` or ``anonymous``.
    :ivar id: the user's, service account's or key's.
    :ivar org_id: the organisation that the author belongs to.
    :ivar on_behalf_of: the user that the author acts for, if that is somebody else.
    :ivar status: HTTP status that the request has if all goes well.
    """

    kind: str
    id: str | None = None
    name: str = ""
    key_id: str | None = None
    org_id: str | None = None
    on_behalf_of: str | None = None
    address: str = ""
    request_id: str = ""
    status: int = 200


@frozen
class Entry:
    """One entry to be written.

    :ivar diff: names of fields to what they were and what they are.
    :ivar status: HTTP status, the author's if it is 0.
    """

    id: str
    at_ms: int
    author: Author
    action: str
    resource_type: str
    resource_id: str | None = None
    org_id: str | None = None
    team_id: str | None = None
    diff: Mapping[str, list[Any]] = {}
    status: int = 0
    error_code: str = ""


def digest_of(before: str, values: Sequence[Any]) -> str:
    """Give the hash of an entry.

    :param before: the hash of the entry before it, empty for the first one.
    :param values: of :data:`COLUMNS`.
    """
    text = json.dumps(list(values), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{before}\n{text}".encode("ascii")).hexdigest()


def append(entries: Sequence[Entry]) -> Op[None]:
    """Write entries behind the last one; others wait until the transaction ends."""
    if not entries:
        return
    head = yield q("UPDATE audit_head SET seq = seq + ? WHERE id = 1 RETURNING seq, hash", len(entries))
    if not head:
        # What cannot be put on record is not done.
        damaged = "the audit log is damaged: run voidllm audit verify"
        raise Refusal(503, "service_unavailable", damaged, retry_after_ms=60_000)
    ((seq, last),) = head
    for number, entry in enumerate(entries, seq - len(entries) + 1):
        values = _values(number, entry)
        last = digest_of(last, values)
        yield q(_INSERT, *values, last)
    yield q("UPDATE audit_head SET hash = ? WHERE id = 1", last)


def _values(seq: int, entry: Entry) -> Row:
    author = entry.author
    return (
        seq,
        entry.id,
        entry.at_ms,
        entry.org_id,
        entry.team_id,
        author.kind,
        author.id,
        author.name,
        author.key_id,
        author.on_behalf_of,
        entry.action,
        entry.resource_type,
        entry.resource_id,
        entry.status or author.status,
        entry.error_code,
        author.address,
        author.request_id,
        audit_diff.kept(entry.diff),
    )
