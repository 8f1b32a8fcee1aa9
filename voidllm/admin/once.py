"""``Idempotency-Key``: a request that is sent again has its first answer, less the secrets.

A key is taken before the work and keeps the answer after it. If the process dies between, or the
database does not say how a change ended, the key stays taken until it expires: whoever asks is
told that nobody knows, rather than having the work done twice.
"""

from __future__ import annotations

import json
import re
from typing import Any, Awaitable, Callable, Protocol, TypeVar

import msgspec
from twisted.logger import Logger

from voidllm.admin.context import AdminContext
from voidllm.admin.fields import bad
from voidllm.core.errors import Refusal, StoreBusy, StoreConflict, StoreError, StoreRejected

LIFETIME_MS = 24 * 3600 * 1000
HEADER = "Idempotency-Key"
#: 1 to 200 visible ASCII characters.
PATTERN = r"^[!-~]{1,200}$"

_KEY = re.compile(r"[!-~]{1,200}")
_log = Logger()


class Answered(Protocol):
    """An answer, as far as it is looked at here."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def value(self) -> Any:
        """What the body is encoded from."""


A = TypeVar("A", bound=Answered)


async def perform_once(
    context: AdminContext,
    subject: str,
    key: str,
    asked: list[Any],
    secrets: tuple[str, ...],
    work: Callable[[], Awaitable[A]],
    kept: Callable[[int, Any], A],
) -> A:
    """Do ``work``, unless it was done before under this key.

    :param subject: who asks; keys of others are others.
    :param asked: all of the request, to tell another one that has the same key.
    :param secrets: paths in the answer of what is not kept.
    :param kept: makes an answer of the kept status and value.
    :raises Refusal: 400, 409 ``idempotency_key_in_use`` or 422 ``idempotency_key_reused``; and
        whatever ``work`` raises.
    """
    if _KEY.fullmatch(key) is None:
        raise bad(f"{HEADER} must be 1 to 200 visible ASCII characters", param=HEADER)
    store, now_ms = context.store, context.world.wall_ms()
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    # Bodies may hold passwords, and a plain digest would let them be guessed.
    fingerprint = context.digester.digest(text.encode("utf-8")).hex()
    found = await store.idempotency_begin(subject, key, fingerprint, now_ms, now_ms + LIFETIME_MS)
    if found is not None:
        if found.fingerprint != fingerprint:
            raise Refusal(
                422, "idempotency_key_reused", f"another request was sent with this {HEADER}", param=HEADER
            )
        if found.status is None:
            message = (
                f"a request with this {HEADER} runs, or nobody knows how it ended; look before you repeat"
            )
            raise Refusal(409, "idempotency_key_in_use", message, param=HEADER)
        return kept(found.status, json.loads(found.reply))
    try:
        answer = await work()
    except (Refusal, StoreConflict, StoreRejected, StoreBusy):
        # Nothing was done. After a time-out or a lost connection nobody knows that.
        await _quietly(store.idempotency_forget(subject, key))
        raise
    value = msgspec.to_builtins(answer.value)
    for path in secrets:
        _remove(value, path.split("."))
    await _quietly(store.idempotency_finish(subject, key, answer.status, json.dumps(value)))
    return answer


async def _quietly(work: Awaitable[None]) -> None:
    try:
        await work
    except StoreError as error:
        # The request itself has its answer; its key merely stays taken until it expires.
        _log.warn("what became of a request was not kept: {kind}", kind=type(error).__name__)


def _remove(value: Any, path: list[str]) -> None:
    for name in path[:-1]:
        value = value[name]
    value.pop(path[-1], None)
