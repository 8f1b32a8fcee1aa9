"""What SQLite raises, as what a store raises.

Its texts name tables and columns, never values: those are parameters everywhere.
"""

from __future__ import annotations

import sqlite3

from voidllm.core.errors import (
    StoreBusy,
    StoreConflict,
    StoreError,
    StoreRejected,
    StoreUnavailable,
)

_UNAVAILABLE = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_NOMEM")
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
_CONFLICT = (
    "SQLITE_CONSTRAINT_UNIQUE",
    "SQLITE_CONSTRAINT_PRIMARYKEY",
    "SQLITE_CONSTRAINT_FOREIGNKEY",
    "SQLITE_CONSTRAINT_TRIGGER",
    "SQLITE_CONSTRAINT_ROWID",
)


def store_error(error: Exception) -> StoreError:
    """Give the store's own error for one of :mod:`sqlite3`, or of Python on its way there."""
    name = getattr(error, "sqlite_errorname", None)
    if name is None:
        # OverflowError for an integer over 64 bits, and the like.
        return StoreRejected(f"SQLite cannot take the data ({type(error).__name__})")
    text = f"SQLite: {error} ({name})"
    if name in _CONFLICT:
        return StoreConflict(text)
    if name.startswith(_BUSY):
        return StoreBusy(text)
    if name.startswith(_UNAVAILABLE):
        return StoreUnavailable(text)
    return StoreRejected(text)


#: What :func:`store_error` is for.
ERRORS = (sqlite3.Error, OverflowError, UnicodeEncodeError)
