"""The audit log."""

from __future__ import annotations

from typing import Any, Mapping

from tests.admin.samples import Sample
from tests.store.support import new_id
from voidllm.store import audit
from voidllm.store.audit import Author, Entry


async def an_entry(case: Any) -> Mapping[str, str]:
    entry_id = new_id()
    author = Author("user", case.users["boss"], "Boss", org_id=case.org.id)
    entry = Entry(entry_id, case.world.wall_ms(), author, "update", "org", case.org.id, case.org.id)
    await case.store.write(audit.append, (entry,))
    return {"entry_id": entry_id}


async def _no_org(case: Any, route: Any) -> None:
    await case.call("GET", route.path + "?org_id=nowhere")


SAMPLES = {
    "list_audit_logs": Sample(provoke={"not_found": _no_org}),
    "export_audit_logs": Sample(provoke={"not_found": _no_org}),
    "verify_audit_logs": Sample(),
    "get_audit_log": Sample(an_entry),
}
