"""The whole OpenAPI document against a real gateway, by a tool that knows nothing else of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway

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
_SCOPES = ("inference", "admin:read", "admin:write")


class WholeDocument(SynchronousTestCase):
    """Every operation with examples, edge cases and random data, valid and not."""

    def test_the_api_is_what_its_document_says(self) -> None:
        """No 5xx, no undocumented status, no violation of a schema, no bad data that passes."""
        folder = Path(self.mktemp())
        gateway = Gateway(folder).start()
        self.addCleanup(gateway.stop)
        options = [word for scope in _SCOPES for word in ("--scope", scope)]
        key = gateway.cli("keys", "create", "-q", "--name", "schemathesis", *options).strip()
        (folder / "schemathesis.toml").write_text(_CONFIG)
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(folder / "schemathesis.toml"), "run"),
            f"http://127.0.0.1:{gateway.port}/api/v1/openapi.json",
            *("--header", f"Authorization: Bearer {key}", "--checks", _CHECKS, "--seed", "5"),
            *("--max-examples", "30", "--no-shrink", "--generation-database", "none", "--max-failures", "20"),
            "--suppress-health-check=all",
        ]
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "160"}
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=110, check=False, env=environment
        )
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        self.assertIn("Test cases:", done.stdout)
