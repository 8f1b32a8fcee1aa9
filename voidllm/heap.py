"""Keep some memory that was given back, because bodies of requests need it again at once.

By itself the C library returns what is free at the end of the heap to the kernel as soon as that is
about twice the largest block so far. A body of 1 MB is held several times while it passes through, so
each of its copies was put into fresh pages, which the kernel first has to find and clear: ten times
what all work on the body costs (5 ms against 0.5).
"""

from __future__ import annotations

import ctypes
from typing import Any

# Of mallopt(3), the same in every glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
#: Blocks of this size and more still come from the kernel, and go back to it at once.
LARGEST = 4 << 20
#: What may be free at the heap's end; what is left there when it was more.
MOST_KEPT, LEFT = 16 << 20, 8 << 20


def keep_freed(libc: Any = None) -> bool:
    """Tell the C library for the rest of this process' life.

    :param libc: the library in place of the process' own.
    :returns: whether it can be told; only glibc can.
    """
    tell = getattr(ctypes.CDLL(None) if libc is None else libc, "mallopt", None)
    if tell is None:
        return False
    return all([tell(_TRIM_THRESHOLD, MOST_KEPT), tell(_TOP_PAD, LEFT), tell(_MMAP_THRESHOLD, LARGEST)])
