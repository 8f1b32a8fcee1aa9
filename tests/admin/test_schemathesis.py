"""The whole OpenAPI document against real gateways, by a tool that knows nothing else of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway, request
from tests.servers import postgres

#: What may never be: a 5xx, a status or body that is not declared, bad data or no key accepted.
_CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,"
    "allow_header_conformance,ignored_auth,use_after_free"
)

# TRACE is refused for the whole port before anybody knows of a path.
_CONFIG = """
[phases.coverage]
unexpected-methods = ["PUT", "DELETE", "PATCH", "POST", "OPTIONS"]
"""
_SCOPES = ["inference", "admin:read", "admin:write"]


@pytest.mark.slow
@pytest.mark.timeout(300)
class WholeDocument(SynchronousTestCase):
    """Every operation with examples, edge cases and random data, valid and not."""

    def gateway(self, folder: Path) -> Gateway:
        return Gateway(folder)

    def _begin(self) -> str:
        self.folder = Path(self.mktemp())
        self.running = self.gateway(self.folder).start()
        self.addCleanup(self.running.stop)
        options = [word for scope in _SCOPES for word in ("--scope", scope)]
        key: str = self.running.cli("keys", "create", "-q", "--name", "schemathesis", *options).strip()
        (self.folder / "schemathesis.toml").write_text(_CONFIG)
        return key

    def _ask(self, method: str, path: str, body: Any, key: str) -> Any:
        headers = {"authorization": f"Bearer {key}"}
        sent = None if body is None else json.dumps(body).encode()
        status, _, reply = request(self.running.port, method, path, sent, headers)
        self.assertLess(status, 400, reply)
        return json.loads(reply)

    def _members_key(self, key: str) -> str:
        org = self._ask("GET", "/api/v1/orgs", None, key)["data"][0]["id"]
        made = self._ask(
            "POST", "/api/v1/users", {"email": "m@example.org", "display_name": "M", "org_id": org}, key
        )
        body = {"name": "member's", "key_type": "user_key", "user_id": made["id"], "scopes": _SCOPES}
        return str(self._ask("POST", f"/api/v1/orgs/{org}/keys", body, key)["key"])

    def _check(self, key: str, *options: str) -> None:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(self.folder / "schemathesis.toml"), "run"),
            f"http://127.0.0.1:{self.running.port}/api/v1/openapi.json",
            *("--header", f"Authorization: Bearer {key}", "--checks", _CHECKS, "--seed", "5"),
            *("--no-shrink", "--generation-database", "none", "--max-failures", "20"),
            *("--suppress-health-check=all", *options),
        ]
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "160"}
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
            env=environment,
        )
        self.assertEqual(done.returncode, 0, done.stdout[-9000:] + done.stderr[-2000:])
        self.assertIn("Test cases:", done.stdout)

    #: Edge cases of every parameter are tried on one store, random data on the other.
    phases = ("--phases", "examples,coverage", "--max-examples", "2")

    def test_as_the_systems_administrator(self) -> None:
        """No 5xx, no undocumented status, no violation of a schema, no bad data that passes."""
        self._check(self._begin(), *self.phases)

    def test_as_a_member(self) -> None:
        """The same for somebody who may do little."""
        key = self._members_key(self._begin())
        self._check(key, "--phases", "examples,fuzzing", "--max-examples", "1")


@pytest.mark.slow
@pytest.mark.timeout(300)
class WholeDocumentOnPostgres(WholeDocument):
    """The same on PostgreSQL."""

    phases = ("--phases", "examples,fuzzing", "--max-examples", "3")

    def gateway(self, folder: Path) -> Gateway:
        database = {"driver": "postgres", "dsn": postgres().create_database()}
        return Gateway(folder, database=database)
