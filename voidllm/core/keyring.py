"""Several encryption keys known at once: one seals, all of them open.

A sealed secret is ``<key id>:<base64>``, so that it says itself which key opens it. The id is the
beginning of the key's check value: every box that knows a key calls it the same.

How to keep a secret at rest: give its column a line in :data:`voidllm.store.sealed.SEALED`, then

* ``call.context.secrets.seal(secret, table, column, row_id)`` before the row is written, and
* ``call.context.secrets.open(sealed, table, column, row_id)`` where it is needed,

with the same table, column and row id as the registry's line has them. Everything else (rotation,
the check at the start) follows from that line.
"""

from __future__ import annotations

import os
from typing import Callable, Iterable

from voidllm.core.crypto import SecretBox, key_check_value
from voidllm.core.errors import StateError

#: Length of a key's id; a sealed secret begins with it and a colon.
ID_LENGTH = 12
#: How many keys may be known at once.
MAX_KEYS = 16


class UnknownKey(StateError):
    """A secret was sealed with a key that is not known here.

    :ivar key_id: of that key.
    """

    def __init__(self, table: str, column: str, key_id: str) -> None:
        super().__init__(f"a secret in {table}.{column} was sealed with the key {key_id}, which is not known")
        self.key_id = key_id


def key_id(key: bytes) -> str:
    """Give what ``key`` is called; nothing of the key is in it."""
    return key_check_value(key)[:ID_LENGTH]


def key_of(sealed: str) -> str:
    """Give the id of the key that a secret was sealed with; ``""`` if it is no sealed secret."""
    name, colon, _ = sealed.partition(":")
    return name if colon and len(name) == ID_LENGTH else ""


class Keyring:
    """The encryption keys of one installation, as one box knows them.

    :param keys: 32 bytes each; the first one seals until :meth:`use` says otherwise. Without any,
        nothing can be sealed or opened.
    :param random_bytes: where nonces come from.
    """

    def __init__(self, keys: Iterable[bytes] = (), random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._keys: dict[str, bytes] = {}
        self._boxes: dict[str, SecretBox] = {}
        self._current = ""
        self.know(keys)

    @property
    def current(self) -> str:
        """The id of the key that seals; ``""`` without any."""
        return self._current

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all known keys, the one that seals first."""
        return (self._current, *(name for name in self._keys if name != self._current)) if self._keys else ()

    @property
    def keys(self) -> tuple[bytes, ...]:
        """All known keys in the order of :attr:`ids`."""
        return tuple(self._keys[name] for name in self.ids)

    def __contains__(self, name: str) -> bool:
        return name in self._keys

    def key(self, name: str) -> bytes:
        """Give a known key by its id.

        :raises KeyError: if it is not known.
        """
        return self._keys[name]

    def know(self, keys: Iterable[bytes]) -> None:
        """Know these keys besides those that are known already."""
        for key in keys:
            name = key_id(key)
            if name not in self._keys:
                self._keys[name] = key
                self._boxes[name] = SecretBox(key, self._random_bytes)
            self._current = self._current or name

    def use(self, name: str) -> None:
        """Seal with this key from now on.

        :raises KeyError: if it is not known.
        """
        self._current = key_id(self._keys[name])

    def forget(self, name: str) -> None:
        """Know a key no longer, if it is not the one that seals."""
        if name != self._current:
            self._keys.pop(name, None)
            self._boxes.pop(name, None)

    def seal(self, secret: str, table: str, column: str, row_id: str) -> str:
        """Encrypt ``secret`` for one cell.

        :raises StateError: if no key is known.
        """
        if not self._current:
            raise StateError("no encryption key is known here, so no secret can be kept")
        return f"{self._current}:{self._boxes[self._current].seal(secret, table, column, row_id)}"

    def open(self, sealed: str, table: str, column: str, row_id: str) -> str:
        """Decrypt what :meth:`seal` made for the same cell.

        :raises UnknownKey: if its key is not known.
        :raises StateError: if it was changed or moved.
        """
        name = key_of(sealed)
        if not name:
            raise StateError(f"a secret in {table}.{column} is damaged")
        box = self._boxes.get(name)
        if box is None:
            raise UnknownKey(table, column, name)
        return box.open(sealed[ID_LENGTH + 1 :], table, column, row_id)

    def reseal(self, sealed: str, table: str, column: str, row_id: str) -> str:
        """Decrypt, and encrypt with the key that seals now; see :meth:`open` and :meth:`seal`."""
        return self.seal(self.open(sealed, table, column, row_id), table, column, row_id)
