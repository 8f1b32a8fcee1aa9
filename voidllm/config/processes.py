"""How many processes answer requests: a number, or one for each core."""

from __future__ import annotations

import re

from voidllm.config.errors import Unusable

_MOST = 64
_NUMBER = re.compile(r"[0-9]{1,4}\Z")
_FAULT = f"must be auto or a whole number from 1 to {_MOST}"


class WorkerCount(int):
    """A number of workers; 0 is ``auto``."""

    __slots__ = ()

    def on(self, cores: int) -> int:
        """Say how many they are on a machine where this process may use so many cores."""
        return self or min(cores, _MOST)

    def __str__(self) -> str:
        """Write it as the file has it."""
        return int.__repr__(self) if self else "auto"

    __repr__ = __str__


def parse_workers(text: str) -> WorkerCount:
    """Read ``auto`` or a number.

    :raises Unusable: if it is neither.
    """
    if text == "auto":
        return WorkerCount(0)
    if not _NUMBER.match(text) or not 1 <= int(text) <= _MOST:
        raise Unusable(_FAULT)
    return WorkerCount(text)
