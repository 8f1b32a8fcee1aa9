"""The exceptions that cross package borders, with the fields a handler needs.

Messages name what was wrong, never the value that was wrong.
"""

from __future__ import annotations

from attrs import define


class VoidLLMError(Exception):
    """Base of every error that VoidLLM raises on purpose."""


@define(auto_exc=True)
class Refusal(VoidLLMError):
    """A unit of work is not done; becomes an error reply and a usage row.

    :ivar status: HTTP status, 400 to 599.
    :ivar code: machine-readable ``error.code``, snake_case.
    :ivar message: for people; never contains a caller's value.
    :ivar param: name of the request field at fault, or ``None``.
    :ivar retry_after_ms: when another try makes sense, in milliseconds, or ``None``.
    :ivar headers: extra reply headers (for example ``x-ratelimit-*``), lower-case names.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after_ms: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


class StoreError(VoidLLMError):
    """Base of what a store raises."""


class StoreUnavailable(StoreError):
    """The database cannot be reached now; try again later."""


class StoreBusy(StoreError):
    """No connection became free in time, or the wait queue is full."""


class StoreTimeout(StoreError):
    """The statement ran longer than its deadline; its effect is unknown unless idempotent."""


class StoreConflict(StoreError):
    """A unique or foreign key constraint refused the change."""


class StoreRejected(StoreError):
    """The database refused the statement or the data for good; a retry cannot help."""


class JournalFull(VoidLLMError):
    """The usage journal and its reserve have no room: no new work may be admitted."""


class StateError(VoidLLMError):
    """The state folder cannot be used as it is (missing key, wrong owner, locked)."""


class StateInUse(StateError):
    """Another process has the state folder or the store; it may be done with it soon."""
