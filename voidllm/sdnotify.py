"""Tells systemd about start, stop and life, as ``sd_notify(3)`` describes; a no-op elsewhere."""

from __future__ import annotations

import os
import socket
from typing import Mapping


class Notifier:
    """Sends datagrams to ``$NOTIFY_SOCKET``.

    :param environ: the process environment.
    :ivar watchdog_s: how often systemd wants a sign of life, in seconds, or ``None``.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A leading @ means the abstract namespace, which starts with a zero byte.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        usec = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Half of the limit, so that one late tick is not the end.
        self.watchdog_s = int(usec) / 2e6 if usec.isdigit() and mine and self._address else None

    def send(self, *lines: str) -> None:
        """Send one message; a manager that does not listen is no reason to fail."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            try:
                sock.sendto("\n".join(lines).encode("utf-8"), self._address)
            except OSError:
                return
