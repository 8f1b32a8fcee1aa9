"""``/api/v1/audit-logs``."""

from __future__ import annotations

from voidllm.admin import audit_operations as operations
from voidllm.admin.access import READ
from voidllm.admin.audit_shapes import AuditEntry, AuditExport, AuditList, Verified, VerifyAsk
from voidllm.admin.declare import Route
from voidllm.admin.kinds import Page
from voidllm.auth.roles import ORG_ADMIN, SYSTEM_ADMIN

_ALL = "/api/v1/audit-logs"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_audit_logs",
        "List what was done, and what was refused",
        operations.list_entries,
        Page[AuditEntry],
        ORG_ADMIN,
        READ,
        query=AuditList,
        codes=("not_found",),
        description="Newest first. Administrators of organisations see what was done in theirs.",
    ),
    Route(
        "GET",
        f"{_ALL}/export",
        "export_audit_logs",
        "Export entries, oldest first",
        operations.export,
        None,
        ORG_ADMIN,
        READ,
        query=AuditExport,
        codes=("not_found",),
        media=("application/x-ndjson",),
        description="One JSON object a line, each as in the list. It is sent while it is read; an export "
        "that fails half-way ends with a cut connection.",
    ),
    Route(
        "GET",
        f"{_ALL}/verify",
        "verify_audit_logs",
        "Check that the log is what was written",
        operations.verify,
        Verified,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        query=VerifyAsk,
        description="Each entry's hash covers the entry before it. Go on with `after` and `after_hash` while "
        "it is not `complete`.",
    ),
    Route(
        "GET",
        f"{_ALL}/{{entry_id}}",
        "get_audit_log",
        "Show one entry",
        operations.get_entry,
        AuditEntry,
        ORG_ADMIN,
        READ,
        tagged=True,
    ),
)
