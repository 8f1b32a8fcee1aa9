"""Who may do what: every route, every kind of caller, two organisations, and the state after each call."""

from __future__ import annotations

from typing import Any, Mapping

import pytest

from tests.admin.support import OnPostgres
from tests.admin.walk import Caller, WalkCase, expected
from voidllm.admin.declare import Route
from voidllm.admin.routes import ROUTES

_PROGRAMS = ("team_key", "sa_key")
_PEOPLE = ("worker", "mate", "lead", "boss", "other_lead", "other_boss")


def _of(**statuses: tuple[str, ...]) -> Mapping[str, int]:
    return {name: int(status[1:]) for status, names in statuses.items() for name in names}


#: A program has neither sessions nor a password.
_FOR_PEOPLE = _of(_409=_PROGRAMS)
#: Whose password the sample knows is ``system`` only.
_WITH_PASSWORD = _of(_409=_PROGRAMS, _403=_PEOPLE)
#: The key of the sample is a system administrator's.
_NOT_ABOVE = _of(_403=("sa_key", "boss"))
_OTHERS = _of(_404=("worker", "mate", "lead", "team_key"))

#: What a handler demands beyond the declaration, by route and caller: the status.
RULES: Mapping[str, Mapping[str, int]] = {
    "log_out": _of(_409=(*_PROGRAMS, *_PEOPLE, "system")),
    "change_me": _FOR_PEOPLE,
    "list_my_sessions": _FOR_PEOPLE,
    "end_my_other_sessions": _FOR_PEOPLE,
    "end_my_session": _of(_409=_PROGRAMS, _404=_PEOPLE),
    "change_my_password": _of(_409=(*_PROGRAMS, *_PEOPLE)),
    "begin_totp": _WITH_PASSWORD,
    "confirm_totp": _of(_409=(*_PROGRAMS, *_PEOPLE)),
    "renew_recovery_codes": _WITH_PASSWORD,
    "remove_totp": _WITH_PASSWORD,
    # The invitation of the sample is for somebody else.
    "accept_invite": _of(_409=_PROGRAMS, _403=_PEOPLE),
    # Members manage those that they have made, whoever leads a team those of it.
    "create_service_account": _of(_403=("team_key",)),
    "get_service_account": _OTHERS,
    "change_service_account": _OTHERS,
    "delete_service_account": _OTHERS,
    # Only the system's administrators make people who belong nowhere.
    "create_user": _of(_400=("sa_key", "boss", "other_boss")),
    # Whoever belongs nowhere is nobody's to add but theirs.
    "add_member": _of(_404=("sa_key", "boss")),
    # Without an owner it would be a key of the caller's own.
    "create_key": _of(_400=("sa_key",)),
    "create_org_key": _of(_400=_PROGRAMS),
    "get_org_key": _OTHERS,
    "change_org_key": {**_OTHERS, **_NOT_ABOVE},
    "revoke_org_key": {**_OTHERS, **_NOT_ABOVE},
    "rotate_org_key": {**_OTHERS, **_NOT_ABOVE},
    "change_key": _NOT_ABOVE,
    "revoke_key": _NOT_ABOVE,
    "rotate_key": _NOT_ABOVE,
    "get_key_limits": _OTHERS,
    "get_key_model_access": _OTHERS,
    "put_key_model_access": {**_OTHERS, **_NOT_ABOVE},
}

#: What changes nothing that is stored, at least with its sample.
IDLE = frozenset(
    {"end_my_other_sessions", "revoke_org_keys", "test_connection", "test_deployment", "test_org_sso"}
)


@pytest.mark.timeout(300)
class TheWalk(WalkCase):
    """Each declared route, tried by everybody."""

    part = 1

    async def test_every_route_with_every_caller(self) -> None:
        """The declared refusals happen and change nothing; what is allowed stays within the organisation."""
        faults = []
        for number, route in enumerate(ROUTES):
            if route.name not in self.samples:
                faults.append(f"{route.name}: has no sample")
                continue
            for offset, caller in enumerate(self.callers):
                if (number + offset) % self.part == 0:
                    faults += await self._try(route, caller)
        self.assertEqual(faults, [], "\n".join(["", *faults]))

    async def _try(self, route: Route, caller: Caller) -> list[str]:
        parts = await self.samples[route.name].make(self)
        before = await self.dump()
        try:
            status, body = await self.ask(route, caller, parts)
        except AssertionError as error:
            # The reply is none that is declared.
            status, body = 599, str(error).encode()
        after = await self.dump()
        wanted = RULES.get(route.name, {}).get(caller.name, expected(route, caller, parts))
        changes = self.differing(before, after)
        faults = list(self._judge(route, caller, wanted, status, body, changes))
        if before != self.base or changes:
            await self.restore()
        return [f"{route.name} by {caller.name}: {fault}" for fault in faults]

    def _judge(
        self, route: Route, caller: Caller, wanted: int, status: int, body: bytes, changes: Mapping[str, Any]
    ) -> Any:
        if route.role is not None and (wanted or status >= 400) and wanted != status:
            yield f"answered {status}, not {wanted or route.status}: {body[:200]!r}"
        if status >= 400 and changes:
            yield f"refused, but changed {changes}"
        if status < 400 and route.method == "GET" and changes:
            yield f"a read that changed {changes}"
        if status < 300 and route.method != "GET" and not changes and route.name not in IDLE:
            yield "allowed, but changed nothing"
        if route.role is None or caller.role is None or caller.name in ("system", "plain"):
            return
        for id_ in self.foreign(caller):
            if id_.encode() in body:
                yield f"shows {id_} of another organisation: {body[:200]!r}"
            for table, rows in changes.items():
                if any(id_ in row for row in rows):
                    yield f"changed {table} of another organisation: {rows}"


@pytest.mark.timeout(300)
class TheWalkOnPostgres(OnPostgres, TheWalk):
    """Some of it on PostgreSQL."""

    dialect = "postgres"
    part = 11
