"""Writes ``api.rst`` and ``roles.rst`` from the routes that the gateway declares.

``python docs/api.py`` after a change; a test fails while a page is behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from voidllm.admin.declare import PROBLEMS, TENANTS, Route, codes_of
from voidllm.admin.once import HEADER
from voidllm.admin.routes import OPERATORS, ROUTES
from voidllm.admin.schemas import plain, properties, required, wanted

PAGE = Path(__file__).parent / "api.rst"
ROLES = Path(__file__).parent / "roles.rst"

HEAD = f"""\
.. Written by docs/api.py from the routes in voidllm/admin/; do not edit.

The administration API
======================

Below ``/api/v1``, with ``Authorization: Bearer`` and the token of a session, or an API key that has the
scope which a route asks for: a key for inference is no key for administration. ``/api/v1/openapi.json`` is
the same in OpenAPI 3.1, and ``/api/v1/docs`` shows it in a browser; both need no key. :doc:`roles` says who
may do what. The control socket ``<state_dir>/control.sock`` serves all of it with an operator's rights, to
root and the gateway's own user.

*Errors* are ``{{"error": {{"message", "type", "param", "code", "request_id"}}}}``; ``param`` names the field
at fault, and nothing of a request's values is ever in there. Unknown fields are errors.

*Lists* are ``{{"data": [...], "has_more": ..., "next_cursor": ...}}``; ``limit`` is 1 to 100, and
``cursor`` goes on where a page ended.

*Times* are RFC 3339 in UTC; money is exact decimal USD.

*PATCH* takes a JSON merge patch (RFC 7396): what is absent stays, ``null`` takes away.

*ETag*: single things carry one. ``If-None-Match`` spares reading one again; ``If-Match`` has a change made
only to what was seen, else 412.

``{HEADER}`` with a POST that needs a key or a session: the same request sent again by the same caller within
24 hours is not done again, but has its first answer, with ``Idempotency-Replayed: true`` and without what is
shown only once. The last 1,000 of each caller are kept. If the gateway or the database died in between, the
answer is 409: look before you try with another key.
"""


ROLES_HEAD = """\
.. Written by docs/api.py from the routes in voidllm/admin/; do not edit.

Who may do what
===============

*Roles* are per organisation: ``member``, ``org_admin``; and per team: ``member``, ``team_admin``.
Administrators of an organisation lead each of its teams. ``system_admin`` is a user of the installation
and stands above all. Each role may do what the ones below it may. A team's key acts as a ``team_admin`` of
its team; a service account's as an ``org_admin``, or as a ``team_admin`` if it belongs to a team. Nobody acts
on, or makes a key for, somebody of a higher role.

*Scopes* are what a key is for: ``inference``, ``admin:read``, ``admin:write``. None includes another. A
session has all of them.

Whoever is outside of the organisation or the team that a route is about is told that there is no such thing
(404), and whoever is inside with too low a role that it is forbidden (403). What the last column calls the
caller's own is checked thing by thing. Every route is tried with each of these roles, from two organisations,
by ``tests/admin/test_roles.py``, which compares all that is stored before and after.
"""


def table(routes: tuple[Route, ...]) -> Iterator[str]:
    """Write who may use which route."""
    yield ".. list-table::\n   :header-rows: 1\n   :widths: auto\n\n"
    rows = [("Route", "Least role", "Scope", "About")]
    for route in routes:
        where = " (control socket only)" if route.operators_only else ""
        rows.append(
            (
                f"``{route.method} {route.path}``{where}",
                route.role or "anybody",
                f"``{route.scope}``" if route.scope else "none",
                TENANTS[route.tenant],
            )
        )
    for row in rows:
        yield "".join(f"   {'* -' if column == 0 else '  -'} {cell}\n" for column, cell in enumerate(row))


def details(route: Route) -> Iterator[str]:
    """Write what one route takes and what may come back."""
    title = f"``{route.method} {route.path}``"
    yield f"\n{title}\n{'~' * len(title)}\n\n{route.summary}.{' ' if route.description else ''}"
    yield f"{route.description.replace('`', '``')}\n\n"
    for kind, fields in (("Query", route.query), ("Body", route.body)):
        for name, schema in properties(fields).items():
            inner = plain(schema)
            words = inner.get("description")
            default = inner.get("default")
            facts = [wanted(inner if kind == "Query" else schema)]
            if name in required(fields):
                facts.append("required")
            if words:
                facts.append(words)
            if default not in (None, "", []):
                facts.append(f"default ``{str(default).lower() if isinstance(default, bool) else default}``")
            yield f"``{name}`` ({kind.lower()})\n    {'; '.join(facts)}\n\n"
    codes = ", ".join(f"{PROBLEMS[code][0]} ``{code}``" for code in codes_of(route))
    yield f"Answers {route.status}, or {codes}.\n"


def page() -> str:
    """Give the whole page."""
    every = (*ROUTES, *OPERATORS)
    parts = [HEAD]
    for resource in dict.fromkeys(route.resource for route in every):
        parts.append(f"\n{_title(resource)}\n{'-' * len(resource)}\n")
        for route in every:
            if route.resource == resource:
                parts += details(route)
    parts.append("\nCodes\n-----\n\n")
    for code, (status, words) in PROBLEMS.items():
        parts.append(f"``{code}`` ({status})\n    {words.replace('`', '``')}\n\n")
    return "".join(parts).rstrip() + "\n"


def roles() -> str:
    """Give the page of roles."""
    parts = [ROLES_HEAD]
    every = (*ROUTES, *OPERATORS)
    for resource in dict.fromkeys(route.resource for route in every):
        about = tuple(route for route in every if route.resource == resource)
        parts += [f"\n{_title(resource)}\n{'-' * len(resource)}\n\n", *table(about)]
    return "".join(parts).rstrip() + "\n"


def _title(resource: str) -> str:
    return resource.replace("-", " ").capitalize()


if __name__ == "__main__":
    PAGE.write_text(page())
    ROLES.write_text(roles())
