"""``/api/v1/system`` and ``/api/v1/health``: how the installation is doing."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from voidllm import __version__
from voidllm.admin.access import READ
from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Count, Nothing
from voidllm.admin.system import Worker
from voidllm.auth.roles import MEMBER, SYSTEM_ADMIN
from voidllm.core.errors import StoreError
from voidllm.store import installation
from voidllm.usage.segments import folder, scan

#: More than this waits for the database only if something is wrong.
_MUCH_BYTES = 32 * 1024 * 1024


class Database(Struct, kw_only=True, frozen=True):
    """Where everything is stored."""

    driver: Literal["sqlite", "postgres"]
    bytes: Count
    change_version: Annotated[Count, Meta(description="counts administrative changes")]


class Journal(Struct, kw_only=True, frozen=True):
    """Usage on this box that is on its way to the database."""

    segments: Count
    waiting_bytes: Count


class InForce(Struct, kw_only=True, frozen=True):
    """What requests are decided by now."""

    version: Count
    keys: Count
    models: Count


class Stored(Struct, kw_only=True, frozen=True):
    """How much there is."""

    orgs: Count
    teams: Count
    users: Count
    keys: Annotated[Count, Meta(description="not revoked")]
    audit_entries: Count


class System(Struct, kw_only=True, frozen=True):
    """The installation, as this box sees it."""

    version: str
    uptime_seconds: Count
    workers: Annotated[list[Worker], Meta(description="processes besides the one that answers this")]
    database: Database
    journal: Journal
    snapshot: InForce
    stored: Stored


State = Literal["ok", "behind", "error"]


class Component(Struct, kw_only=True, frozen=True):
    """How one part is doing."""

    name: Literal["database", "journal", "snapshot"]
    status: State


class Health(Struct, kw_only=True, frozen=True):
    """How the gateway is doing."""

    status: Annotated[Literal["ok", "degraded"], Meta(description="ok if every part is")]
    version: str
    components: list[Component]


async def show_system(call: Call[Nothing, Nothing]) -> System:
    """Show how much there is, and what runs."""
    context = call.context
    config = context.config()
    facts = await call.read(installation.facts, config.database.driver)
    segments, waiting = await _journal(context)
    snapshot = context.snapshots.current
    workers = [] if context.workers is None else msgspec.convert(context.workers(), list[Worker])
    return System(
        version=__version__,
        uptime_seconds=_uptime(context),
        workers=workers,
        database=Database(
            driver=config.database.driver,  # type: ignore[arg-type]  # the configuration knows these two
            bytes=facts.bytes,
            change_version=facts.change_version,
        ),
        journal=Journal(segments=segments, waiting_bytes=waiting),
        snapshot=InForce(version=snapshot.version, keys=len(snapshot.keys), models=len(snapshot.models)),
        stored=Stored(
            orgs=facts.orgs,
            teams=facts.teams,
            users=facts.users,
            keys=facts.keys,
            audit_entries=facts.audit_entries,
        ),
    )


async def show_health(call: Call[Nothing, Nothing]) -> Health:
    """Say which parts are well."""
    context = call.context
    _, waiting = await _journal(context)
    found: list[Component] = [
        Component(name="database", status=await _database(context)),
        Component(name="journal", status="behind" if waiting > _MUCH_BYTES else "ok"),
        Component(name="snapshot", status="ok" if context.snapshots.current.version else "error"),
    ]
    well = all(one.status == "ok" for one in found)
    return Health(status="ok" if well else "degraded", version=__version__, components=found)


async def _database(context: AdminContext) -> State:
    try:
        await context.store.ping()
    except StoreError:
        return "error"
    return "ok"


async def _journal(context: AdminContext) -> tuple[int, int]:
    """Count segments and the bytes in them, some of which are in the database already."""
    world = context.world
    sizes = await world.in_thread(partial(scan, world.fs, folder(context.config().state_dir)))
    return len(sizes), sum(sizes.values())


def _uptime(context: AdminContext) -> int:
    return max(0, int(context.world.reactor.seconds() - context.began_s))


ROUTES = (
    Route(
        "GET",
        "/api/v1/system",
        "show_system",
        "Show what runs and how much there is",
        show_system,
        System,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
    ),
    Route(
        "GET",
        "/api/v1/health",
        "show_health",
        "Say which parts of the gateway are well",
        show_health,
        Health,
        MEMBER,
        READ,
        tenant="none",
        description="Probes of machines are `/healthz` and `/readyz`, which need no key.",
    ),
)
