"""What entries of the audit log look like, and what may be asked of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from voidllm.admin.kinds import (
    DEFAULT_PAGE,
    MAX_NUMBER,
    Asked,
    Cursor,
    Id,
    Moment,
    Named,
    PageSize,
    Ref,
    Text,
    Time,
)
from voidllm.admin.moments import moment
from voidllm.store.audit_read import Logged
from voidllm.store.audit_verify import Checked

ActorType = Literal["user", "key", "service_account", "operator", "system", "anonymous"]
Outcome = Literal["success", "refused"]
Sort = Literal["-timestamp", "timestamp"]
Expand = Annotated[list[Literal["org", "team"]], Meta(max_length=2, description="name these")]
_Status = Annotated[int, Meta(ge=100, le=599, description="HTTP status")]


class Difference(Struct, kw_only=True, frozen=True):
    """What one field was and is."""

    before: Any
    after: Any


class AuditEntry(Struct, kw_only=True, frozen=True):
    """One entry of the audit log."""

    id: Id
    seq: Annotated[int, Meta(ge=1, le=MAX_NUMBER, description="its place in the chain")]
    timestamp: Time
    org_id: Annotated[Id | None, Meta(description="the organisation that it is about")]
    team_id: Id | None
    org: Named | UnsetType | None = UNSET
    team: Named | UnsetType | None = UNSET
    actor_type: ActorType
    actor_id: Annotated[str | None, Meta(description="of the user, service account or key")]
    actor_name: str
    actor_key_id: Id | None
    on_behalf_of: Annotated[Id | None, Meta(description="the user that the actor acted for")]
    action: str
    resource_type: str
    resource_id: str | None
    description: str
    outcome: Outcome
    ip_address: Annotated[str, Meta(description="empty on the control socket")]
    status_code: int
    error_code: Annotated[str | None, Meta(description="why it was refused")]
    request_id: str
    diff: Annotated[dict[str, Difference], Meta(description="what differs; without secrets, and cut")]
    hash: Annotated[str, Meta(description="SHA-256 of this entry and of the hash before it, in hex")]


class AuditAsk(Asked):
    """Which entries are meant."""

    org_id: Annotated[Ref, Meta(description="id or slug of an organisation")] | None = None
    actor_id: Ref | None = None
    actor_type: ActorType | None = None
    resource_type: Text | None = None
    resource_id: Ref | None = None
    action: Text | None = None
    outcome: Outcome | None = None
    status: _Status | None = None
    from_: Moment | None = field(default=None, name="from")
    to: Moment | None = None
    since: Annotated[Moment, Meta(description="the same as from")] | None = None
    until: Annotated[Moment, Meta(description="the same as to")] | None = None
    q: (
        Annotated[Text, Meta(description="part of a name, id, action, resource, error, address or request")]
        | None
    ) = None


class AuditList(AuditAsk):
    """Which page of which entries, as of every list."""

    limit: PageSize = DEFAULT_PAGE
    cursor: Cursor | None = None
    sort: Sort = "-timestamp"
    expand: Expand | None = None


class AuditExport(AuditAsk):
    """What to export."""

    format: Literal["ndjson"] = "ndjson"


class VerifyAsk(Asked):
    """Where to go on; with neither it begins with the oldest entry."""

    after: Annotated[int, Meta(ge=0, le=MAX_NUMBER, description="last_seq of the answer before")] = 0
    after_hash: Annotated[str, Meta(max_length=64, description="last_hash of the answer before")] = ""


class Fault(Struct, kw_only=True, frozen=True):
    """The first place where the chain breaks."""

    seq: Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
    kind: Annotated[
        Literal["altered", "missing", "truncated", "beyond_head", "headless"],
        Meta(
            description="altered: it, or its place, is not what was written; missing: there is none of this "
            "number; truncated: the log ends before it; beyond_head: it was not written by a gateway; "
            "headless: nothing says any more where the log ends"
        ),
    ]


class Verified(Struct, kw_only=True, frozen=True):
    """How far the chain was followed, and what was found."""

    ok: Annotated[bool, Meta(description="nothing wrong so far")]
    complete: Annotated[bool, Meta(description="nothing is left to look at")]
    entries: Annotated[int, Meta(ge=0, description="looked at for this answer")]
    first_seq: Annotated[int, Meta(ge=1, description="of the oldest entry that was not dropped for its age")]
    last_seq: Annotated[int, Meta(ge=0, description="of the last entry that fits")]
    last_hash: str
    head_seq: Annotated[int, Meta(ge=0, description="of the newest entry")]
    head_hash: Annotated[str, Meta(description="keep it elsewhere: nobody can then write the log anew")]
    fault: Fault | None


def verified_view(checked: Checked, entries: int) -> Verified:
    """Show how far the chain was followed."""
    fault = None
    if checked.fault is not None and checked.fault_seq is not None:
        fault = Fault(seq=checked.fault_seq, kind=checked.fault)  # type: ignore[arg-type]  # one of them
    return Verified(
        ok=fault is None,
        complete=checked.done,
        entries=entries,
        first_seq=checked.head.dropped_seq + 1,
        last_seq=checked.seq,
        last_hash=checked.hash,
        head_seq=checked.head.seq,
        head_hash=checked.head.hash,
        fault=fault,
    )


def entry_view(entry: Logged) -> AuditEntry:
    """Show one entry."""
    what = f"{entry.action} {entry.resource_type}".replace("_", " ")
    return AuditEntry(
        id=entry.id,
        seq=entry.seq,
        timestamp=moment(entry.at_ms),
        org_id=entry.org_id,
        team_id=entry.team_id,
        actor_type=entry.actor_type,  # type: ignore[arg-type]  # the writer knows the same kinds
        actor_id=entry.actor_id,
        actor_name=entry.actor_name,
        actor_key_id=entry.actor_key_id,
        on_behalf_of=entry.on_behalf_of,
        action=entry.action,
        resource_type=entry.resource_type,
        resource_id=entry.resource_id,
        description=f"{what} refused: {entry.error_code}" if entry.error_code else what,
        outcome="refused" if entry.error_code else "success",
        ip_address=entry.address,
        status_code=entry.status,
        error_code=entry.error_code or None,
        request_id=entry.request_id,
        diff={name: Difference(before=pair[0], after=pair[1]) for name, pair in entry.diff.items()},
        hash=entry.hash,
    )
