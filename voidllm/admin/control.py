"""The operators' way in: HTTP on a Unix socket in the state folder.

Whoever may connect is the operator, so it is checked twice who may: by the socket's mode,
and by the credentials that the kernel has of the peer.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from typing import Any, Callable

from attrs import evolve
from twisted.internet.interfaces import IReactorUNIX
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from voidllm.admin.access import OPERATOR, Actor
from voidllm.admin.app import make_app
from voidllm.admin.context import AdminContext
from voidllm.admin.fields import MAX_BODY
from voidllm.admin.root import LazyApp
from voidllm.core.errors import StateError
from voidllm.core.world import World
from voidllm.http.dispatch import hand_over
from voidllm.http.settings import FrontSettings
from voidllm.http.site import StrictSite

SOCKET = "control.sock"

# sun_path has 108 bytes and ends with a NUL.
MAX_PATH = 107
_CREDENTIALS = struct.Struct("3i")
_STOP_S = 2.0
_log = Logger()


def peer_uid(transport: Any) -> int | None:
    """Ask the kernel for the effective user id of the process at the other end."""
    try:
        raw = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return None
    return int(_CREDENTIALS.unpack(raw)[1])


class ControlSocket:
    """Serves the admin application with an operator's rights on ``<state_dir>/control.sock``.

    :param reload: takes over the configuration file and gives the keys that need a restart.
    :param workers: describes the processes that answer requests besides this one, if there are any.
    :param uid_of: finds the user id of a transport's peer.
    """

    def __init__(
        self,
        world: World,
        state_dir: str,
        context: AdminContext,
        *,
        reload: Callable[[], list[str]] | None = None,
        workers: Callable[[], list[dict[str, Any]]] | None = None,
        uid_of: Callable[[Any], int | None] = peer_uid,
    ) -> None:
        self.path = os.path.join(state_dir, SOCKET)
        self._world = world
        self._context = evolve(context, reload=reload, workers=workers, began_s=world.reactor.seconds())
        self._uid_of = uid_of
        self._port: Any = None
        self._site: Any = None

    async def start(self) -> None:
        """Begin to listen.

        :raises StateError: if the path is too long, or another gateway serves this state folder.
        """
        if len(os.fsencode(self.path)) > MAX_PATH:
            longest = MAX_PATH - len(SOCKET) - 1
            raise StateError(
                f"state_dir is too long for the control socket: give a path of at most {longest} bytes"
            )
        if not IReactorUNIX.providedBy(self._world.reactor):
            raise StateError("this reactor has no Unix sockets")
        _clear(self.path)
        # The base folder's mode is no help if it was there before; a umask leaves no gap.
        before = os.umask(0o177)
        try:
            self._listen()
        finally:
            os.umask(before)

    def _listen(self) -> None:
        settings = FrontSettings(max_body_bytes=MAX_BODY)
        self._site = StrictSite(self._world, LazyApp(self._make_app), settings)
        factory = _OperatorsOnly(self._site, self._uid_of)
        self._port = self._world.reactor.listenUNIX(self.path, factory, mode=0o600)

    async def stop(self) -> None:
        """Listen no longer, end what runs, and take the socket away."""
        port, self._port = self._port, None
        if port is not None:
            # Twisted removes the file first, so nobody finds a socket that nobody serves.
            await port.stopListening()
            self._site.drain()
            drained = self._site.drained()
            drained.addTimeout(_STOP_S, self._world.reactor, onTimeoutCancel=lambda *_: None)
            await drained
            self._site.abort_all()

    def _make_app(self) -> Any:
        return make_app(self._context, _operator, for_operators=True)


async def _operator(request: Any) -> Actor:
    return OPERATOR


class _OperatorsOnly(Factory):
    """Lets root and the gateway's own user through to the site."""

    noisy = False

    def __init__(self, site: Any, uid_of: Callable[[Any], int | None]) -> None:
        self.site = site
        self.allowed = frozenset((0, os.geteuid()))
        self.uid_of = uid_of

    def buildProtocol(self, addr: Any) -> Protocol:
        """Make the protocol that looks at the peer."""
        return _Doorkeeper(self)


class _Doorkeeper(Protocol):
    """Looks at the peer once, then steps aside."""

    def __init__(self, rule: _OperatorsOnly) -> None:
        self._rule = rule

    def connectionMade(self) -> None:
        """Hand the connection to the site, or drop it unheard."""
        transport: Any = self.transport
        uid = self._rule.uid_of(transport)
        if uid not in self._rule.allowed:
            _log.warn("control socket: a process of user {uid} was turned away", uid=uid)
            transport.abortConnection()
            return
        transport.protocol = hand_over(transport, self._rule.site)


def _clear(path: str) -> None:
    """Remove a socket that a killed gateway has left; anything else there is an error."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StateError(f"{path} is there and is no socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                os.unlink(path)
                return
            if error.errno == errno.ENOENT:
                return
    raise StateError("somebody answers on the control socket: another gateway uses this state_dir")
