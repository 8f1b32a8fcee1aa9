"""What only the operator may ask for, on the control socket."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm import __version__
from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Count, Nothing
from voidllm.auth.roles import SYSTEM_ADMIN
from voidllm.core.errors import Refusal, VoidLLMError


class Worker(Struct, kw_only=True, frozen=True):
    """A process that answers requests besides the one that is asked."""

    worker: Annotated[int, Meta(ge=1, description="its number")]
    pid: int
    uptime_seconds: Count
    ready: bool


class Status(Struct, kw_only=True, frozen=True):
    """Which processes there are."""

    version: str
    pid: Annotated[Count, Meta(description="of the process that answers this")]
    uptime_seconds: Count
    workers: list[Worker] | UnsetType = UNSET


class Reloaded(Struct, kw_only=True, frozen=True):
    """How a reload went."""

    needs_restart: Annotated[list[str], Meta(description="changed keys that only a restart applies")]


async def show_status(call: Call[Nothing, Nothing]) -> Status:
    """Say which process this is."""
    context = call.context
    uptime = int(context.world.reactor.seconds() - context.began_s)
    workers = UNSET if context.workers is None else msgspec.convert(context.workers(), list[Worker])
    return Status(version=__version__, pid=os.getpid(), uptime_seconds=uptime, workers=workers)


async def reload(call: Call[Nothing, Nothing]) -> Reloaded:
    """Take over the configuration file.

    :raises Refusal: 400 for a mistake in it, 409 if this gateway cannot reload.
    """
    if call.context.reload is None:
        raise Refusal(409, "conflict", "this gateway cannot reload its configuration")
    try:
        restart = call.context.reload()
    except VoidLLMError as error:
        # Said by name and place of what is wrong, never by value.
        raise Refusal(400, "bad_configuration", str(error)) from None
    return Reloaded(needs_restart=list(restart))


ROUTES = (
    Route(
        "POST",
        "/api/v1/reload",
        "reload",
        "Take over the configuration file as it is now",
        reload,
        Reloaded,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        codes=("bad_configuration", "conflict"),
        operators_only=True,
        stored=False,
    ),
    Route(
        "GET",
        "/api/v1/status",
        "show_status",
        "Say which process this is",
        show_status,
        Status,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        operators_only=True,
        stored=False,
    ),
)
