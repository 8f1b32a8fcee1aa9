"""The two ways to a gateway's administration, and the choice between them."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Any, Awaitable, Callable, Coroutine, Mapping, Protocol, TypeVar

from voidllm.cli.failures import Unreachable
from voidllm.cli.live import LiveClient
from voidllm.cli.settings import Settings

T = TypeVar("T")
#: How long a command waits for a store that somebody uses, in seconds, and how often it looks.
PATIENCE_S = 5.0
STEP_S = 0.1
_PAGE = "100"


class Client(Protocol):
    """What the commands ask for; see :mod:`voidllm.admin.routes`."""

    def create_key(self, body: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """Make a key."""

    def list_keys(self, query: Mapping[str, str]) -> Awaitable[dict[str, Any]]:
        """Give one page of keys."""

    def revoke_key(self, key_id: str) -> Awaitable[dict[str, Any]]:
        """Revoke a key."""

    def rotate_key(self, key_id: str, body: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """Put a new key in the place of an old one."""

    def encryption(self, name: str, body: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """Do one thing of a rotation of the encryption key."""

    def usage(self, query: Mapping[str, str]) -> Awaitable[dict[str, Any]]:
        """Report usage."""

    def audit_logs(self, query: Mapping[str, str]) -> Awaitable[dict[str, Any]]:
        """Give one page of the audit log."""

    def verify_audit(self, query: Mapping[str, str]) -> Awaitable[dict[str, Any]]:
        """Check a part of the audit log."""

    def reset_password(self, body: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """Give somebody a new password."""

    def disable_totp(self, body: Mapping[str, Any]) -> Awaitable[dict[str, Any]]:
        """Take away somebody's second factor."""


Work = Callable[[Any], Coroutine[Any, Any, T]]


def perform(settings: Settings, work: Work[T]) -> T:
    """Do ``work`` with a client: through the control socket if a gateway answers there, else on the store.

    :param work: an async function of a :class:`Client`; it is called once.
    :raises Failed: with a message for people.
    """
    client = LiveClient.reach(settings.place().state_dir)
    config = settings.store() if client is None else None
    if config is not None:
        client = _wait(config)
    if client is not None:
        try:
            return _drive(work(client))
        finally:
            client.close()
    from voidllm.cli.offline import perform_offline

    return perform_offline(config, work)


async def every_key(client: Client, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Follow the pages of a list of keys to the end."""
    found: list[dict[str, Any]] = []
    query = {**query, "limit": _PAGE}
    while True:
        page = await client.list_keys(query)
        found += page["data"]
        if not page["has_more"]:
            return found
        query = {**query, "cursor": page["next_cursor"]}


def nobody_answers(config: Any) -> Unreachable:
    """Make the error for a gateway that is there and takes no commands."""
    return Unreachable(
        f"the store is in use, but nobody answers on {LiveClient.path_in(config.state_dir)}: the gateway is "
        "starting, stopping or stuck. Try again in a moment; if that does not help, look at its log, "
        "then stop it and run this again"
    )


def _wait(config: Any) -> LiveClient | None:
    """Give a gateway that is starting or stopping a moment.

    A shared database has no lock to tell. That of SQLite's file is its control plane's alone: workers
    of one that was killed may still write their last rows.

    :returns: a client, or ``None`` if there is no gateway.
    """
    path = os.path.join(config.state_dir, "control.lock")
    deadline = time.monotonic() + PATIENCE_S
    while _locked(path):
        client = LiveClient.reach(config.state_dir)
        if client is not None:
            return client
        if time.monotonic() > deadline:
            raise nobody_answers(config)
        time.sleep(STEP_S)
    return None


def _drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits: the live client's methods block instead."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise RuntimeError("a command waited for something")


def _locked(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        raise Unreachable(
            f"{path} may not be read: run this as root or as the user that the gateway runs as"
        ) from None
    except OSError as error:
        raise Unreachable(f"{path} cannot be opened: {os.strerror(error.errno or 0)}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
