"""All keys of a snapshot, so divided that the next snapshot shares what did not change."""

from __future__ import annotations

from itertools import chain
from operator import is_
from typing import Any, Iterator, Mapping

from voidllm.core.principal import Principal

#: Parts of a table; a key's is the first byte of its digest, which is as good as random.
_SHARDS = 256
_Shard = dict[bytes, Principal]
_NOTHING: _Shard = {}


class KeyTable(Mapping[bytes, Principal]):
    """Digests (32 bytes) and the principals they speak for; nothing in it ever changes.

    A change of one key among 100,000 copies one part of 400 entries, and two tables that come from
    each other differ only where their parts are different objects.
    """

    __slots__ = ("_shards", "_size")

    def __init__(self, shards: tuple[_Shard, ...] = (_NOTHING,) * _SHARDS) -> None:
        self._shards = shards
        self._size = sum(map(len, shards))

    def get(self, key: bytes, default: Any = None) -> Any:
        """Give the principal of a digest, or ``default``."""
        return self._shards[key[0]].get(key, default)

    def __getitem__(self, key: bytes) -> Principal:
        return self._shards[key[0]][key]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and key in self._shards[key[0]]

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self._shards)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, KeyTable):
            return self._shards == other._shards
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def shards(self) -> tuple[Mapping[bytes, Principal], ...]:
        """Give the parts, each a piece of work of its own for who goes through all."""
        return self._shards

    def same(self, other: KeyTable) -> bool:
        """Say whether both share everything, without a look at what they hold."""
        return all(map(is_, self._shards, other._shards))

    def since(self, old: KeyTable) -> tuple[dict[bytes, Principal], tuple[bytes, ...]]:
        """Give what is new or different since ``old``, and what is gone; looks at parts that differ only."""
        changed: dict[bytes, Principal] = {}
        gone: list[bytes] = []
        for before, now in zip(old._shards, self._shards, strict=True):
            if before is now:
                continue
            for digest, principal in now.items():
                known = before.get(digest)
                if known is not principal and known != principal:
                    changed[digest] = principal
            gone += [digest for digest in before if digest not in now]
        return changed, tuple(gone)


EMPTY_TABLE = KeyTable()


class KeyDraft:
    """The next table while it is written; the one that it begins with stays as it is."""

    def __init__(self, base: KeyTable) -> None:
        self._shards = list(base._shards)
        self._own: set[int] = set()

    def get(self, digest: bytes) -> Principal | None:
        """Give what is there by now."""
        return self._shards[digest[0]].get(digest)

    def put(self, digest: bytes, principal: Principal) -> None:
        """Add a key, or replace what is known of it; nothing happens where it is the same object."""
        if self._shards[digest[0]].get(digest) is not principal:
            self._writable(digest[0])[digest] = principal

    def drop(self, digest: bytes) -> None:
        """Take a key out, if it is there."""
        if digest in self._shards[digest[0]]:
            del self._writable(digest[0])[digest]

    def done(self) -> KeyTable:
        """Give the table; a draft is of no use afterwards."""
        self._own.clear()
        return KeyTable(tuple(self._shards))

    def share(self, old: KeyTable) -> Iterator[None]:
        """Use the parts of ``old`` again that hold the same objects; a generator, a step for each part."""
        for number, before in enumerate(old._shards):
            now = self._shards[number]
            if len(now) == len(before) and all(before.get(key) is value for key, value in now.items()):
                self._shards[number] = before
            yield

    def _writable(self, number: int) -> _Shard:
        if number not in self._own:
            self._own.add(number)
            self._shards[number] = self._shards[number].copy()
        return self._shards[number]


def key_table(keys: Mapping[bytes, Principal]) -> KeyTable:
    """Give the table of any mapping."""
    if isinstance(keys, KeyTable):
        return keys
    draft = KeyDraft(EMPTY_TABLE)
    for digest, principal in keys.items():
        draft.put(digest, principal)
    return draft.done()


class Shared:
    """Gives equal values as one object: 100,000 principals have few organisations, roles and limits.

    :param most: so many values are known at once; with more all are forgotten, which costs only memory.
    """

    def __init__(self, most: int = 50_000) -> None:
        self._most = most
        self._known: dict[Any, Any] = {}

    def __call__(self, value: Any) -> Any:
        """Give a value that equals ``value``."""
        return self._known.setdefault(value, value)

    def trim(self) -> None:
        """Begin anew if too many values are known; to be called now and then."""
        if len(self._known) > self._most:
            self._known.clear()

    def principal(self, principal: Principal) -> Principal:
        """Give ``principal``, which nobody else has seen yet, with what it shares with others put in."""
        for name in _OFTEN_EQUAL:
            value = getattr(principal, name)
            object.__setattr__(principal, name, self(value))
        counted = principal.counted
        if counted and counted[0].kind == "key":
            # Nobody shares it, but its numbers and the scopes behind it.
            object.__setattr__(counted[0], "limits", self(counted[0].limits))
            object.__setattr__(principal, "counted", (counted[0], *map(self, counted[1:])))
        else:
            object.__setattr__(principal, "counted", self(counted))
        return principal


_OFTEN_EQUAL = (
    *("key_type", "org_id", "team_id", "service_account_id", "role", "scopes", "access", "networks", "tags"),
)


def batches(table: KeyTable, size: int) -> Iterator[dict[bytes, Principal]]:
    """Cut a table into pieces of about ``size`` keys, none of them empty."""
    piece: dict[bytes, Principal] = {}
    for shard in table.shards():
        for digest, principal in shard.items():
            piece[digest] = principal
            if len(piece) >= size:
                yield piece
                piece = {}
    if piece:
        yield piece
