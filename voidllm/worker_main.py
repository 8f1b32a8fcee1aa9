"""The process of a worker: its descriptors, its signals, its reactor.

Whatever signals a terminal or a service manager sends to the whole group are the control plane's
affair.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import signal
import sys
from typing import Any

from voidllm.core.world import World
from voidllm.hardening import harden
from voidllm.heap import keep_freed
from voidllm.http import polling
from voidllm.worker import LISTENER_FD, LOCK_FD, Worker

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run the worker whose number is the only argument, on the descriptors that it inherited."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for fd in range(LISTENER_FD, LOCK_FD + 1):
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    harden()
    keep_freed()
    _wake_when_orphaned()
    from twisted.internet import reactor
    from twisted.internet.threads import deferToThread

    gc.enable()
    looped: Any = reactor
    status = [0]

    def end(code: int) -> None:
        status[0] = code
        if looped.running:
            looped.stop()

    polling.install(looped)
    worker = Worker(World(reactor=looped, in_thread=deferToThread), int(sys.argv[1]), end)
    looped.callWhenRunning(worker.start)
    looped.run(installSignalHandlers=False)
    sys.stdout.flush()
    os._exit(status[0])


def _wake_when_orphaned() -> None:
    """Have the kernel continue this process when its parent ends.

    One that was stopped would keep the state folder and the port from the next gateway for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
