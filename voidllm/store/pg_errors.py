"""What psycopg2 and txpostgres raise, as what a store raises.

A server's message can quote the values of a row, so of an error only its SQLSTATE and the
names of the constraint and table go on.
"""

from __future__ import annotations

import psycopg2
from twisted.internet.error import ConnectionClosed
from txpostgres.txpostgres import (  # type: ignore[import-untyped]
    AlreadyPolling,
    UnexpectedPollResult,
)

from voidllm.core.errors import (
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreRejected,
    StoreTimeout,
    StoreUnavailable,
)


class TryAgain(StoreBusy):
    """The server rolled the transaction back for the sake of another; it may be run anew."""


class ConnectionGone(StoreUnavailable):
    """The connection was lost while a statement was running."""


#: What :func:`store_error` is for. ``ValueError`` is a text that cannot be sent, such as one with a NUL.
ERRORS = (psycopg2.Error, ConnectionClosed, UnexpectedPollResult, AlreadyPolling, ValueError)

_BY_STATE: dict[str, type[StoreError]] = {
    "23505": StoreConflict,  # unique_violation
    "23503": StoreConflict,  # foreign_key_violation
    "23P01": StoreConflict,  # exclusion_violation
    "40001": TryAgain,  # serialization_failure
    "40P01": TryAgain,  # deadlock_detected
    "55P03": StoreBusy,  # lock_not_available
    "57014": StoreTimeout,  # query_canceled, which is what statement_timeout gives
    "25P03": StoreTimeout,  # idle_in_transaction_session_timeout
    "25006": StoreUnavailable,  # read_only_sql_transaction: we are talking to a standby
}
_BY_CLASS: dict[str, type[StoreError]] = {
    "08": StoreUnavailable,  # connection exceptions
    "53": StoreUnavailable,  # out of disk, memory or connections
    "57": StoreUnavailable,  # shutting down, starting up
    "58": StoreUnavailable,  # system errors
    "XX": StoreUnavailable,  # internal errors
}


def store_error(error: BaseException) -> StoreError:
    """Give the store's own error for one of :data:`ERRORS`."""
    state = getattr(error, "pgcode", None)
    if state is None:
        if isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError, ConnectionClosed)):
            return ConnectionGone("the connection to PostgreSQL was lost")
        if isinstance(error, (UnexpectedPollResult, AlreadyPolling)):
            return ConnectionGone("the connection to PostgreSQL is in an unknown state")
        return StoreRejected(f"PostgreSQL cannot be sent the data ({type(error).__name__})")
    diagnosis = getattr(error, "diag", None)
    names = (getattr(diagnosis, name, None) for name in ("table_name", "constraint_name"))
    where = "".join(f", {name}" for name in names if name)
    kind = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or StoreRejected
    return kind(f"PostgreSQL refused a statement (SQLSTATE {state}{where})")


def connect_error(error: BaseException) -> StoreUnavailable:
    """Give the error for a failed attempt to connect; libpq's text has no password in it."""
    lines = str(error).strip().splitlines()
    if isinstance(error, psycopg2.Error) and lines:
        return StoreUnavailable(f"PostgreSQL cannot be reached: {lines[0]}")
    return StoreUnavailable("PostgreSQL cannot be reached: no answer in time")
