"""The control socket, on a real Unix socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.admin import contract
from tests.admin.support import AdminCase
from voidllm.admin.control import MAX_PATH, ControlSocket
from voidllm.admin.routes import OPERATORS, ROUTES
from voidllm.core.errors import StateError


def ask(
    path: str, method: str, target: str, value: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(20)
        connection.sock.connect(path)
        connection.request(method, target, None if value is None else json.dumps(value), headers or {})
        reply = connection.getresponse()
        got = {name.lower(): value for name, value in reply.getheaders()}
        body = json.loads(reply.read())
        contract.check(method, target, reply.status, got, body, (*ROUTES, *OPERATORS))
        return reply.status, body
    finally:
        connection.close()


class Control(AdminCase):
    def make(self, **more: Any) -> ControlSocket:
        self.folder = os.path.dirname(self.mktemp())
        return ControlSocket(self.world, self.folder, self.context, **more)

    async def running(self, **more: Any) -> ControlSocket:
        control = self.make(**more)
        await control.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(control.stop()))
        return control

    async def ask(self, control: ControlSocket, *arguments: Any) -> tuple[int, Any]:
        return await deferToThread(ask, control.path, *arguments)

    async def test_the_caller_is_the_operator(self) -> None:
        """Without any key everything of every organisation can be done."""
        control = await self.running()
        status, page = await self.ask(control, "GET", "/api/v1/keys")
        self.assertEqual((status, len(page["data"])), (200, 7))
        status, made = await self.ask(
            control, "POST", "/api/v1/keys", {"name": "x", "scopes": ["admin:write"]}
        )
        self.assertEqual(status, 201)
        self.assertEqual((await self.ask(control, "DELETE", f"/api/v1/keys/{made['id']}"))[0], 200)
        self.assertEqual((await self.ask(control, "GET", "/api/v1/usage"))[0], 200)
        self.assertEqual((await self.ask(control, "GET", "/api/v1/nothing"))[0], 404)

    async def test_status_and_reload(self) -> None:
        """There is more than over TCP: which process it is, and reloading, with its errors."""
        problems: list[StateError] = []

        def reload() -> list[str]:
            if problems:
                raise problems[0]
            return ["workers"]

        control = await self.running(reload=reload)
        status, view = await self.ask(control, "GET", "/api/v1/status")
        self.assertEqual((status, view["pid"]), (200, os.getpid()))
        self.assertEqual(
            await self.ask(control, "POST", "/api/v1/reload"), (200, {"needs_restart": ["workers"]})
        )
        problems.append(StateError("line 3: models[0].name: is missing"))
        status, error = await self.ask(control, "POST", "/api/v1/reload")
        self.assertEqual((status, error["error"]["code"]), (400, "bad_configuration"))
        self.assertEqual((await self.call("POST", "/api/v1/reload"))[0], 404)

    async def test_other_users_are_turned_away(self) -> None:
        """A peer that is neither root nor the gateway's user gets no byte."""
        control = await self.running(uid_of=lambda _: 4_000_000)
        with self.assertRaises((ConnectionError, http.client.RemoteDisconnected)):
            await self.ask(control, "GET", "/api/v1/status")
        unknown = await self.running(uid_of=lambda _: None)
        with self.assertRaises((ConnectionError, http.client.RemoteDisconnected)):
            await self.ask(unknown, "GET", "/api/v1/status")

    async def test_the_socket_is_private_and_goes_with_the_gateway(self) -> None:
        """Its mode is 0600, and nothing is left to connect to after the stop."""
        control = self.make()
        await control.start()
        self.assertEqual(stat.S_IMODE(os.stat(control.path).st_mode), 0o600)
        await control.stop()
        self.assertFalse(os.path.exists(control.path))
        await control.start()
        await control.stop()

    async def test_a_dead_socket_is_replaced_and_a_living_one_is_not(self) -> None:
        """Only what nobody answers on is taken away."""
        control = self.make()
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(control.path)
        dead.close()
        await control.start()
        second = ControlSocket(self.world, self.folder, self.context)
        with self.assertRaises(StateError):
            await second.start()
        self.assertEqual((await self.ask(control, "GET", "/api/v1/status"))[0], 200)
        await control.stop()
        with socket.socket(socket.AF_UNIX) as living:
            living.bind(control.path)
            living.listen()
            with self.assertRaises(StateError):
                await control.start()
        os.unlink(control.path)
        with open(control.path, "w", encoding="ascii"):
            pass
        with self.assertRaises(StateError):
            await control.start()

    async def test_a_path_that_is_too_long_is_told_clearly(self) -> None:
        """The error says how long a state folder may be."""
        control = ControlSocket(self.world, "/" + "x" * MAX_PATH, self.context)
        with self.assertRaises(StateError) as caught:
            await control.start()
        self.assertIn("state_dir", str(caught.exception))
