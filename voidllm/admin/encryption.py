"""Another encryption key for all that is kept sealed: for the operator, while the gateway runs or not.

A rotation is a row of small steps, each of which may be the last for now. Where it stands is in
the store: which key seals (``encryption_key_check``), which one is to seal next
(``encryption_key_next``), and, in each sealed secret, which key it was sealed with.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from voidllm.admin.access import READ, WRITE
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Asked, Count, Nothing
from voidllm.auth.roles import SYSTEM_ADMIN
from voidllm.core.crypto import KEY_BYTES, key_check_value, parse_encryption_key
from voidllm.core.errors import Refusal, StateError
from voidllm.core.keyfile import read_keys, write_keys
from voidllm.core.keyring import ID_LENGTH, MAX_KEYS, key_id
from voidllm.store import secrets, state
from voidllm.store.sealed import KEY_CHECK, SEALED

#: Under this name ``meta`` keeps the check value of the key that is to seal next.
NEXT = "encryption_key_next"
#: A box that was not heard of for so long is not there.
AWAY_MS = 120_000


class HeldSecrets(Struct, kw_only=True, frozen=True):
    """Secrets of one column that one key has sealed."""

    table: str
    column: str
    key_id: str
    count: Count
    readable: bool


class Encryption(Struct, kw_only=True, frozen=True):
    """How secrets are sealed."""

    key_id: Annotated[str, Meta(description="of the key that seals")]
    keys: Annotated[list[str], Meta(description="ids of all keys that are known")]
    secrets: list[HeldSecrets]
    remaining: Annotated[Count, Meta(description="secrets that a former key has sealed and that can be read")]
    unreadable: Annotated[Count, Meta(description="secrets whose key is not known")]


class Step(Asked):
    """Where to go on."""

    place: Annotated[int, Meta(ge=0, le=1000)] = 0
    after: Annotated[str, Meta(max_length=300)] = ""


class Stepped(Struct, kw_only=True, frozen=True):
    """What one batch has done."""

    done: Count
    failed: Annotated[list[str], Meta(description="columns with secrets that do not open with their key")]
    place: Annotated[int | None, Meta(description="where to go on, null at the end")]
    after: str


class Forgotten(Struct, kw_only=True, frozen=True):
    """Which keys are not needed any more."""

    key_id: str
    forgotten: list[str]
    configured: Annotated[bool, Meta(description="whether the configuration names keys that may go")]


async def show_encryption(call: Call[Nothing, Nothing]) -> Encryption:
    """Say how secrets are sealed."""
    ring = call.context.secrets
    held = await call.read(secrets.census)
    shown = [
        HeldSecrets(
            table=one.table,
            column=one.column,
            key_id=one.key_id,
            count=one.count,
            readable=one.key_id in ring,
        )
        for one in held
    ]
    return Encryption(
        key_id=ring.current,
        keys=list(ring.ids),
        secrets=shown,
        remaining=sum(one.count for one in shown if one.readable and one.key_id != ring.current),
        unreadable=sum(one.count for one in shown if not one.readable),
    )


async def begin_rotation(call: Call[Nothing, Nothing]) -> Encryption:
    """Have another key seal from now on, unless a former rotation is to be finished first.

    :raises Refusal: 409 that says what to do first: on another box, or in the configuration.
    """
    ring = call.context.secrets
    await _reread(call)
    check = await call.read(state.meta_get, KEY_CHECK)
    if check is not None and check[:ID_LENGTH] in ring:
        ring.use(check[:ID_LENGTH])
    now = await show_encryption(call)
    if now.remaining:
        return now
    target = await _target(call)
    others = await call.read(secrets.without, target, call.now_ms - AWAY_MS, call.context.box)
    if others:
        raise Refusal(
            409,
            "conflict",
            f"{len(others)} box(es) on this database do not know the new key {target} yet "
            f"({', '.join(others)}): copy encryption.key from this state folder to theirs, or give them the "
            "same configuration; they take it up within a minute. Then run this again",
        )
    new = key_check_value(ring.key(target))
    await call.change(secrets.promote, ring.current, target, new)
    ring.use(target)
    await _rewrite(call)
    return await show_encryption(call)


async def step_rotation(call: Call[Nothing, Step]) -> Stepped:
    """Seal some secrets anew that a former key has sealed.

    :raises Refusal: 400 for a place that there is not.
    """
    ring, at = call.context.secrets, call.body
    if at.place > len(SEALED):
        raise Refusal(400, "bad_request", "there is no such place", param="place")
    made = await call.write(secrets.reseal, (at.place, at.after), ring.current, ring.ids, ring.reseal)
    failed = sorted({f"{table}.{column}" for table, column, _ in made.failed})
    place, after = made.place or (None, "")
    return Stepped(done=made.done, failed=failed, place=place, after=after)


async def forget_old_keys(call: Call[Nothing, Nothing]) -> Forgotten:
    """Know former keys no longer; they are taken out of the key file.

    :raises Refusal: 409 while anything is sealed with one of them.
    """
    ring = call.context.secrets
    await _reread(call)
    held = [one for one in await call.read(secrets.census) if one.key_id != ring.current]
    if held:
        raise Refusal(
            409,
            "conflict",
            f"other keys are still needed ({'; '.join(map(str, held))}): run voidllm rotate-key first",
        )
    old = [name for name in ring.ids if name != ring.current]
    for name in old:
        ring.forget(name)
    file = await _file(call)
    kept = tuple(key for key in file if key_id(key) == ring.current)
    if kept and kept != file:
        await call.context.world.in_thread(
            write_keys, call.context.world, call.context.config().state_dir, kept
        )
    settings = call.context.config().settings
    return Forgotten(key_id=ring.current, forgotten=old, configured=bool(settings.encryption_keys_old))


async def _target(call: Call[Any, Any]) -> str:
    """Find or make the key that is to seal next; it is known and on disk before anything is sealed with it.

    :raises Refusal: 409.
    """
    context = call.context
    ring, configured = context.secrets, context.config().settings.encryption_key
    if configured:
        name = key_id(parse_encryption_key(configured))
        if name == ring.current:
            raise Refusal(
                409,
                "conflict",
                "the configuration gives the encryption key, so a new one goes there: the present value "
                "under settings.encryption_keys_old, and another one (openssl rand -base64 32) as "
                "settings.encryption_key. Reload every box and run this again",
            )
        return name
    prepared = (await call.read(state.meta_get, NEXT) or "")[:ID_LENGTH]
    if prepared in ring and prepared != ring.current:
        return prepared
    if len(ring.ids) >= MAX_KEYS:
        raise Refusal(409, "conflict", "there are too many former keys: run voidllm rotate-key --forget-old")
    key = context.world.random_bytes(KEY_BYTES)
    # At the end of the file: until the other boxes know it, nothing is sealed with it.
    await _write(call, (*await _file(call), key))
    ring.know([key])
    await call.write(state.meta_set, NEXT, key_check_value(key))
    return key_id(key)


async def _reread(call: Call[Any, Any]) -> None:
    call.context.secrets.know(await _file(call))


async def _rewrite(call: Call[Any, Any]) -> None:
    """Put the key that seals first in the file, if it is there at all."""
    file = await _file(call)
    name = call.context.secrets.current
    first = tuple(key for key in file if key_id(key) == name)
    if first and file[0] != first[0]:
        await _write(call, (*first, *(key for key in file if key_id(key) != name)))


async def _file(call: Call[Any, Any]) -> tuple[bytes, ...]:
    context = call.context
    try:
        keys: tuple[bytes, ...] = await context.world.in_thread(
            read_keys, context.world, context.config().state_dir
        )
    except StateError as error:
        raise Refusal(409, "conflict", str(error)) from None
    return keys


async def _write(call: Call[Any, Any], keys: tuple[bytes, ...]) -> None:
    context = call.context
    try:
        await context.world.in_thread(write_keys, context.world, context.config().state_dir, keys)
    except StateError as error:
        raise Refusal(409, "conflict", str(error)) from None


_BASE = "/api/v1/operator/encryption"

ROUTES = (
    Route(
        "GET",
        _BASE,
        "show_encryption",
        "Say how secrets are sealed",
        show_encryption,
        Encryption,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        operators_only=True,
    ),
    Route(
        "POST",
        _BASE + "/rotation",
        "begin_rotation",
        "Have another key seal secrets from now on",
        begin_rotation,
        Encryption,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        codes=("conflict",),
        operators_only=True,
    ),
    Route(
        "POST",
        _BASE + "/steps",
        "step_rotation",
        "Seal some secrets anew that a former key has sealed",
        step_rotation,
        Stepped,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=Step,
        operators_only=True,
    ),
    Route(
        "POST",
        _BASE + "/forget",
        "forget_old_keys",
        "Know former keys no longer",
        forget_old_keys,
        Forgotten,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        codes=("conflict",),
        operators_only=True,
    ),
)
