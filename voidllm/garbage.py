"""How often the garbage collector looks, in a process that leaves it next to nothing."""

from __future__ import annotations

import gc


def settle() -> None:
    """Put what is there now out of the collector's sight; called after each full snapshot.

    A snapshot lives long and makes no cycles; the collector need not look at it again. Requests
    leave no cycles behind, so there is little to find: looking for it at the usual thresholds
    was 5 % of a busy process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
