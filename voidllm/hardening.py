"""What the process gives up and asks for at start, so that a hostile neighbour gets nothing."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_PR_SET_DUMPABLE = 4
#: Below this many descriptors a busy gateway will run out.
ENOUGH_DESCRIPTORS = 65_536


def harden() -> list[str]:
    """Forbid core dumps and tracing by others, and raise the soft descriptor limit to the hard one.

    :returns: warnings for the log.
    """
    warnings = []
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            warnings.append("core dumps and tracing could not be forbidden for this process")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < ENOUGH_DESCRIPTORS:
        warnings.append(
            f"only {hard} file descriptors are allowed; "
            f"raise the limit (LimitNOFILE, ulimit -Hn) to {ENOUGH_DESCRIPTORS} or more"
        )
    return warnings
