"""Limits of the whole installation, on traffic."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway, request, wait_until


class SystemLimits(SynchronousTestCase):
    """A real gateway with one limit for everybody."""

    def test_all_organisations_share_them(self) -> None:
        """What keys of two organisations use is counted together, before and after a restart."""
        gateway = Gateway(self.mktemp()).start()
        self.addCleanup(gateway.kill)
        scopes = [word for scope in ("inference", "admin:read", "admin:write") for word in ("--scope", scope)]
        key = gateway.cli("keys", "create", "-q", "--name", "admin", *scopes).strip()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

        def ask(method: str, path: str, value: object) -> dict[str, object]:
            status, _, reply = request(
                gateway.port, method, f"/api/v1{path}", json.dumps(value).encode(), headers
            )
            self.assertLess(status, 300, reply)
            return dict(json.loads(reply))

        other = ask("POST", "/orgs", {"name": "Other", "slug": "other"})
        theirs = ask("POST", "/orgs/other/service-accounts", {"name": "robot"})
        body = {"name": "robot", "key_type": "sa_key", "service_account_id": theirs["id"]}
        second = str(ask("POST", f"/orgs/{other['id']}/keys", body)["key"])
        wait_until(lambda: self.chat(gateway, second)[0] == 200, "the second key")
        ask("PUT", "/limits", {"requests_per_day": 4})

        def limited() -> bool:
            return "requests" in "".join(self.chat(gateway, key)[1])

        wait_until(limited, "the limit")
        statuses = [self.chat(gateway, one)[0] for one in (key, second) * 3]
        self.assertEqual(statuses, sorted(statuses))
        self.assertEqual(statuses[-1], 429)
        gateway.stop()
        gateway.start()
        status, _, reply = self.chat(gateway, second)
        self.assertEqual((status, json.loads(reply)["error"]["message"][:11]), (429, "the gateway"))

    def chat(self, gateway: Gateway, key: str) -> tuple[int, dict[str, str], bytes]:
        body = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        return request(gateway.port, "POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
