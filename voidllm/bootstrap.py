"""The first start: an organisation, an administrator and one key, shown once.

The administrator's password is in a file until the administrator chooses another one.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from voidllm.auth.keys import generate, hint
from voidllm.auth.passwords import hash_password, new_password
from voidllm.core.crypto import KeyDigester
from voidllm.core.ids import uuid7
from voidllm.core.world import FileSystem, World
from voidllm.store import passwords
from voidllm.store.records import Bootstrap, NewKey, Org, User

CREDENTIALS = "first-credentials.json"
_log = Logger()
_BOX = "box-id"


@frozen
class FirstCredentials:
    """What the first administrator needs; never logged, written to one file of mode 0600."""

    api_key: str
    admin_email: str
    admin_password: str

    def __repr__(self) -> str:
        return "FirstCredentials(...)"

    def as_json(self) -> bytes:
        """Encode for the file."""
        value = {
            "api_key": self.api_key,
            "admin_email": self.admin_email,
            "admin_password": self.admin_password,
        }
        return json.dumps(value, indent=2).encode("utf-8") + b"\n"


def slug(name: str) -> str:
    """Make a slug: lower-case letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "default"


async def bootstrap(
    world: World,
    store: Any,
    digester: KeyDigester,
    *,
    org_name: str,
    org_slug: str,
    admin_email: str,
    meta: tuple[tuple[str, str], ...],
    state_dir: str,
) -> FirstCredentials | None:
    """Seed an empty store; gives ``None`` if it is not empty.

    The file is written before the store is, so that no crash can leave a store whose
    only key nobody knows; a file without its store is overwritten by the next start.
    """
    if not await store.is_empty():
        return None
    now_ms = world.wall_ms()

    def new_id() -> str:
        return uuid7(now_ms, world.random_bytes)

    api_key = generate("user_key", world.random_bytes)
    first = FirstCredentials(api_key, admin_email, new_password(world.random_bytes))
    org = Org(new_id(), org_name, org_slug or slug(org_name), now_ms)
    hashed = await hash_password(world, first.admin_password)
    admin = User(new_id(), admin_email, "Administrator", now_ms, hashed, True, must_change_password=True)
    key = NewKey(
        new_id(),
        digester.digest(api_key.encode("ascii")).hex(),
        hint(api_key),
        "user_key",
        "first key",
        org.id,
        user_id=admin.id,
    )
    path = os.path.join(state_dir, CREDENTIALS)
    await world.in_thread(write_private, world.fs, path, first.as_json())
    if await store.bootstrap(
        Bootstrap(org, admin, key, meta=(*meta, (passwords.FIRST_ADMIN, admin.id))), now_ms
    ):
        return first
    # Another box on the same database was quicker; this file names nobody.
    await world.in_thread(world.fs.unlink, path)
    return None


async def check_first_password(world: World, store: Any, state_dir: str) -> str | None:
    """Delete the file of the first start if its password is no longer good.

    It may have been changed through another box, which cannot reach this file.

    :returns: a warning while the password is still the first one.
    :raises StoreError: if the store cannot be read now.
    """
    first = await store.read(passwords.first_password)
    if first is None:
        # What another start, on another box, has made is not known here; then there is no file either.
        if await store.meta_get(passwords.FIRST_ADMIN) is not None:
            await forget_first_password(world, state_dir)
        return None
    path = os.path.join(state_dir, CREDENTIALS)
    kept = f", which {path} holds" if await world.in_thread(world.fs.exists, path) else ""
    return f"the first administrator still has the password of the first start{kept}: log in and change it"


async def forget_first_password(world: World, state_dir: str) -> None:
    """Delete the file of the first start, if it is there."""
    try:
        await world.in_thread(world.fs.unlink, os.path.join(state_dir, CREDENTIALS))
    except FileNotFoundError:
        pass
    except OSError as error:
        # The password in it is no longer good; the next start tries again.
        _log.warn("{file} cannot be deleted: {why}", file=CREDENTIALS, why=os.strerror(error.errno or 0))


def write_private(fs: FileSystem, path: str, data: bytes) -> None:
    """Write a file of mode 0600 as a whole: readers see the old content or the new."""
    temporary = path + ".new"
    # What is there was left by a crash, or put there by somebody who wants to read along.
    try:
        fs.unlink(temporary)
    except FileNotFoundError:
        pass
    fd = fs.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[fs.write(fd, bytes(view)) :]
        fs.fsync(fd)
    finally:
        fs.close(fd)
    fs.rename(temporary, path)


def box_id(world: World, state_dir: str) -> str:
    """Give this box's name in journal segments; made once per state folder.

    Not the host name: that may change, and then nobody would claim the old segments.
    """
    path = os.path.join(state_dir, _BOX)
    if not world.fs.exists(path):
        write_private(world.fs, path, world.random_bytes(6).hex().encode("ascii"))
    fd = world.fs.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return world.fs.pread(fd, 64, 0).decode("ascii").strip()
    finally:
        world.fs.close(fd)
