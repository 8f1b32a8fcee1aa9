"""A running gateway, through its control socket; plain blocking HTTP from the standard library."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
from typing import Any, Mapping
from urllib.parse import quote, urlencode

from voidllm.cli.failures import Failed, Unreachable

_TIMEOUT_S = 40.0
_ENCRYPTION = {
    "show_encryption": ("GET", ""),
    "begin_rotation": ("POST", "/rotation"),
    "step_rotation": ("POST", "/steps"),
    "forget_old_keys": ("POST", "/forget"),
}


class LiveClient:
    """See :class:`voidllm.cli.client.Client`; its methods block and never wait.

    :param connected: a socket that a gateway has accepted.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT_S)
        self._connection.sock = connected
        # A lost connection must not be opened again over TCP, to whoever listens there.
        self._connection.auto_open = 0

    @staticmethod
    def path_in(state_dir: str) -> str:
        """Give the path of a gateway's control socket."""
        return os.path.join(state_dir, "control.sock")

    @classmethod
    def reach(cls, state_dir: str) -> LiveClient | None:
        """Connect to the gateway of a state folder; ``None`` if none listens.

        :raises Unreachable: if one does but may not be talked to.
        """
        path = cls.path_in(state_dir)
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connected.settimeout(_TIMEOUT_S)
        try:
            connected.connect(path)
        except OSError as error:
            connected.close()
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED) or error.errno is None:
                # Without a number: the path is too long for any socket to be there.
                return None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise Unreachable(
                    f"{path} may not be used: run this as root or as the user that the gateway runs as"
                ) from None
            raise Unreachable(f"{path} cannot be used: {os.strerror(error.errno)}") from None
        return cls(connected)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def create_key(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make a key."""
        return self._call("POST", "/api/v1/keys", body=body)

    async def list_keys(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Give one page of keys."""
        return self._call("GET", "/api/v1/keys", query)

    async def revoke_key(self, key_id: str) -> dict[str, Any]:
        """Revoke a key."""
        return self._call("DELETE", f"/api/v1/keys/{quote(key_id, safe='')}")

    async def rotate_key(self, key_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Put a new key in the place of an old one."""
        return self._call("POST", f"/api/v1/keys/{quote(key_id, safe='')}/rotate", body=body)

    async def usage(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Report usage."""
        return self._call("GET", "/api/v1/usage", query)

    async def audit_logs(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Give one page of the audit log."""
        return self._call("GET", "/api/v1/audit-logs", query)

    async def verify_audit(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Check a part of the audit log."""
        return self._call("GET", "/api/v1/audit-logs/verify", query)

    async def reset_password(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Give somebody a new password."""
        return self._call("POST", "/api/v1/operator/reset-password", body=body)

    async def disable_totp(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Take away somebody's second factor."""
        return self._call("POST", "/api/v1/operator/disable-totp", body=body)

    async def encryption(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Do one thing of a rotation of the encryption key; see :mod:`voidllm.admin.encryption`."""
        method, tail = _ENCRYPTION[name]
        return self._call(method, f"/api/v1/operator/encryption{tail}", body=body or None)

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        target = f"{path}?{urlencode(query)}" if query else path
        sent = None if body is None else json.dumps(body).encode("utf-8")
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            self._connection.request(method, target, sent, headers)
            reply = self._connection.getresponse()
            status, data = reply.status, reply.read()
            value = json.loads(data)
        except TimeoutError:
            raise Unreachable("the running gateway does not answer; look at its log") from None
        except (OSError, http.client.HTTPException):
            raise Unreachable(
                "the running gateway closed the connection: it is stopping, or it does not take commands "
                "from this user; run this as root or as the user that the gateway runs as"
            ) from None
        except ValueError:
            raise Unreachable("the running gateway gave an answer that is not understood") from None
        if status >= 400:
            message = _message(value)
            raise Unreachable(message) if status == 503 else Failed(message)
        if not isinstance(value, dict):
            raise Unreachable("the running gateway gave an answer that is not understood")
        return value


def _message(value: Any) -> str:
    try:
        return str(value["error"]["message"])
    except (TypeError, KeyError):
        return "the running gateway refused, without saying why"
