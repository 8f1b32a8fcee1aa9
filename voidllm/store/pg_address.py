"""Where PostgreSQL is: a connection string into libpq parameters that never block."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any

from psycopg2 import ProgrammingError
from psycopg2.extensions import make_dsn, parse_dsn

from voidllm.core.errors import StateError, StoreUnavailable
from voidllm.core.world import World

_DEFAULTS = {
    "client_encoding": "UTF8",
    "application_name": "voidllm",
    # Looking for Kerberos tickets and servers reads files and the network, synchronously.
    "gssencmode": "disable",
    "keepalives": "1",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}


def parameters(dsn: str, statement_timeout_s: float) -> dict[str, str]:
    """Parse a connection string or URL and add what we want unless it says otherwise.

    :raises StateError: if it is neither.
    """
    try:
        given: dict[str, str] = parse_dsn(dsn)
    except ProgrammingError:
        # The driver's text quotes what it could not read, which may be the password.
        raise StateError("the PostgreSQL connection string cannot be read") from None
    merged = {**_DEFAULTS, **given}
    timeout_ms = int(statement_timeout_s * 1000)
    ours = (
        f"-c statement_timeout={timeout_ms} -c lock_timeout={timeout_ms}"
        f" -c idle_in_transaction_session_timeout={2 * timeout_ms}"
    )
    merged["options"] = f"{ours} {given['options']}" if given.get("options") else ours
    return merged


async def resolved(world: World, given: dict[str, str]) -> str:
    """Look up the host names of ``given`` off the reactor and give a string to connect with.

    libpq would look them up while the whole process waits. The names stay beside the
    addresses, because certificates are checked against them.

    :raises StoreUnavailable: if a name is unknown.
    """
    hosts = given.get("host", "")
    if "hostaddr" in given or not hosts:
        return make_dsn(**given)
    addresses = [await _address(world, host) for host in hosts.split(",")]
    if not any(addresses):
        return make_dsn(**given)
    return make_dsn(**given, hostaddr=",".join(addresses))


async def _address(world: World, host: str) -> str:
    """Give the first address of one host, or ``""`` for the folder of a Unix socket."""
    if not host or host.startswith(("/", "@")):
        return ""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        found: Any = await world.in_thread(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    except OSError:
        raise StoreUnavailable("the host name of the database cannot be resolved") from None
    return str(found[0][4][0])
