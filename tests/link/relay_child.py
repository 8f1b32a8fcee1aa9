"""One side of a relay in a process of its own, until it is killed.

``python -m tests.link.relay_child parent CHANNEL_FD`` or ``… worker CHANNEL_FD LISTENING_FD``.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def spawn(*sides: str | socket.socket) -> subprocess.Popen[bytes]:
    """Start one side with its descriptors, and wait until it is ready; our copies are closed."""
    ends = [one for one in sides if isinstance(one, socket.socket)]
    numbers = [str(one.fileno()) if isinstance(one, socket.socket) else one for one in sides]
    command = [sys.executable, "-m", "tests.link.relay_child", *numbers]
    fds = [end.fileno() for end in ends]
    process = subprocess.Popen(command, cwd=_ROOT, pass_fds=fds, stdout=subprocess.PIPE)
    for end in ends:
        end.close()
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a side that was started here."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def main() -> None:
    """Run one side."""
    from twisted.internet import reactor

    from tests.link.relay_rig import Parent, Worker

    side, *fds = sys.argv[1:]
    if side == "parent":
        Parent(reactor).listen(socket.socket(fileno=int(fds[0])))
    else:
        Worker(reactor, int(fds[0]), int(fds[1]))
    reactor.callWhenRunning(print, "ready", flush=True)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
