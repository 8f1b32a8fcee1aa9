"""One gateway to a state folder, its workers included; operators' commands look at the lock, too."""

from __future__ import annotations

import fcntl
import os

from voidllm.core.errors import StateInUse
from voidllm.core.world import FileSystem

_NAME = "control.lock"


def take(fs: FileSystem, state_dir: str) -> int:
    """Lock the folder for this process and for every one that inherits the descriptor.

    So a gateway that was killed goes on holding its folder until its last worker has written its
    last row: a successor that came sooner would take that worker's journal for complete.

    :returns: the descriptor; the lock ends when every copy of it is closed.
    :raises StateInUse: while another gateway has the folder.
    """
    path = os.path.join(state_dir, _NAME)
    fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fs.close(fd)
        raise StateInUse(f"the state folder {state_dir} is in use by another gateway") from None
    except OSError:
        fs.close(fd)
        raise
    return fd
