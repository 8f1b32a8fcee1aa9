"""Tables, queries and migrations; SQLite and PostgreSQL behind one interface."""

from __future__ import annotations

from typing import Any

from voidllm.core.interfaces import IStore
from voidllm.core.world import World

__all__ = ["open_store"]


def open_store(world: World, driver: str, dsn: str, **options: Any) -> IStore:
    """Make a store; nothing is opened before its ``start()``.

    :param driver: ``sqlite`` or ``postgres``. The PostgreSQL driver is imported only for the latter.
    :param dsn: path of the SQLite file, or a libpq connection string or URL.
    :param options: of :class:`~voidllm.store.sqlite.SQLiteStore` or
        :class:`~voidllm.store.postgres.PostgresStore`.
    :raises ValueError: if there is no such driver or option value.
    """
    store: IStore
    if driver == "sqlite":
        from voidllm.store.sqlite import SQLiteStore

        store = SQLiteStore(world, dsn, **options)
    elif driver == "postgres":
        from voidllm.store.postgres import PostgresStore

        store = PostgresStore(world, dsn, **options)
    else:
        raise ValueError("the database driver is sqlite or postgres")
    return store
