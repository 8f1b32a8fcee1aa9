"""Many tenants for a store: organisations, teams, users and keys, written into its tables directly."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator

ORGS, TEAMS, USERS = 50, 2_000, 20_000

Table = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]


def tables(keys: int) -> Iterator[Table]:
    """Give table, columns and rows, in an order that references allow.

    Every organisation has limits and so has every second team; each tenth key has limits of its own, and
    each tenth an access list.
    """
    limits = (10**8, 10**10, 10**12, 10**13, 10**14)
    orgs = [f"crowd-org-{n:032}" for n in range(ORGS)]
    teams = [(f"crowd-team-{n:032}", orgs[n % ORGS]) for n in range(TEAMS)]
    users = [(f"crowd-user-{n:032}", orgs[n % ORGS]) for n in range(USERS)]
    yield (
        "organizations",
        ("id", "name", "slug", "created_at_ms"),
        [(org, f"Organisation {org}", org, 1) for org in orgs],
    )
    yield (
        "teams",
        ("id", "org_id", "name", "slug", "created_at_ms"),
        [(team, org, f"Team {team}", team, 1) for team, org in teams],
    )
    yield (
        "users",
        ("id", "email", "name", "created_at_ms"),
        [(user, f"{user}@example.org", f"User {user}", 1) for user, _ in users],
    )
    yield (
        "org_memberships",
        ("org_id", "user_id", "role", "created_at_ms"),
        [(org, user, "member", 1) for user, org in users],
    )
    made = []
    for n in range(keys):
        user, org = users[n % USERS]
        # A team of the same organisation.
        team = teams[(n % ORGS) + ORGS * (n // ORGS % (TEAMS // ORGS))][0]
        digest = hashlib.sha256(b"%d" % n).hexdigest()
        name = f"Key number {n} of somebody"
        made.append(
            (f"crowd-key-{n:032}", digest, "vl_uk_...0000", "user_key", name, org, team, user, "inference", 1)
        )
    yield (
        "api_keys",
        (
            "id",
            "hash",
            "hint",
            "key_type",
            "name",
            "org_id",
            "team_id",
            "user_id",
            "scopes",
            "created_at_ms",
        ),
        made,
    )
    scopes = [("org", org) for org in orgs] + [("team", team) for team, _ in teams[::2]]
    scopes += [("key", key[0]) for key in made[::10]]
    yield (
        "scope_limits",
        (
            "scope_kind",
            "scope_id",
            "requests_per_minute",
            "requests_per_day",
            "tokens_per_minute",
            "tokens_per_day",
            "tokens_per_month",
        ),
        [(*scope, *limits) for scope in scopes],
    )
    listed = [key[0] for key in made[5::10]]
    yield "access_lists", ("scope_kind", "scope_id"), [("key", key) for key in listed]
    yield (
        "access_models",
        ("scope_kind", "scope_id", "model"),
        [("key", key, model) for key in listed for model in ("bench-model", f"model-{key[-2:]}")],
    )


def fill(store: Path, keys: int) -> None:
    """Write them into an SQLite store that nobody has open."""
    with closing(sqlite3.connect(store)) as connection, connection:
        for table, columns, rows in tables(keys):
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
        connection.execute("UPDATE change_version SET version = version + 1")
