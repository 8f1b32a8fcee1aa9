"""Single sign-on of a whole gateway, as its configuration has it."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import Gateway
from tests.idp import Browser, IdentityProvider

_CALLBACK = "/api/v1/auth/oidc/callback"


class SignOn(SynchronousTestCase):
    """A real gateway, a real provider, a browser."""

    def test_whole(self) -> None:
        """People sign on and are in the organisation; the log tells why others are not, and no secret."""
        provider = IdentityProvider(["http://127.0.0.1" + _CALLBACK])
        self.addCleanup(provider.stop)
        gateway = Gateway(self.mktemp())
        url = f"http://127.0.0.1:{gateway.port}"
        sso = {
            "enabled": True,
            "issuer": provider.issuer,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "redirect_url": url + _CALLBACK,
            "allowed_domains": ["example.org"],
            "auto_provision": True,
        }
        gateway.configure(settings={"sso": sso})
        gateway.start()
        self.addCleanup(gateway.kill)
        provider.person("ann", {"email": "ann@example.org", "email_verified": True, "name": "Ann"})
        browser = Browser(url)
        self.assertEqual(browser.sign_on("ann"), "/auth/callback")
        me = browser.get("/api/v1/me").json()
        self.assertEqual((me["email"], me["orgs"][0]["role"]), ("ann@example.org", "member"))
        provider.person("eve", {"email": "eve@example.com", "email_verified": True})
        self.assertEqual(Browser(url).sign_on("eve"), "/login?error=domain_not_allowed")
        log = gateway.log.read_text()
        self.assertIn("domain_not_allowed", log)
        for secret in (provider.client_secret, "eve@", "ann@", json.dumps(provider.client_secret)):
            self.assertNotIn(secret, log)
        self.assertEqual(gateway.stop(), 0)
