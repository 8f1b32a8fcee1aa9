"""Known settings whose feature is not there yet."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import faults

_HTTP = "base_url: 'http://h/v1'"


class UnbuiltTests(SynchronousTestCase):
    """On is an error, off is nothing."""

    def test_on(self) -> None:
        """Each switch is refused with its own path."""
        for text, path in (
            ("server: {admin: {port: 8081}}", "server.admin.port"),
            ("server: {admin: {tls: {enabled: true, cert: a, key: b}}}", "server.admin.tls.enabled"),
            ("redis: {enabled: true}", "redis.enabled"),
            ("mcp_servers: [{name: a, alias: a, url: 'http://h'}]", "mcp_servers"),
            ("settings: {otel: {enabled: true}}", "settings.otel.enabled"),
            ("settings: {pii: {enabled: true}}", "settings.pii.enabled"),
            ("settings: {mcp: {code_mode: {enabled: true}}}", "settings.mcp.code_mode.enabled"),
            ("settings: {circuit_breaker: {enabled: true}}", "settings.circuit_breaker.enabled"),
            ("settings: {health_check: {health: {enabled: true}}}", "settings.health_check.health.enabled"),
            ("settings: {health_check: {models: {enabled: true}}}", "settings.health_check.models.enabled"),
            (
                "settings: {health_check: {functional: {enabled: true}}}",
                "settings.health_check.functional.enabled",
            ),
            ("settings: {fallback_max_depth: 1}", "settings.fallback_max_depth"),
            ("settings: {fallback_max_depth: -1}", "settings.fallback_max_depth"),
            (f"models: [{{name: a, provider: anthropic, {_HTTP}}}]", "models[0].provider"),
            (f"models: [{{name: a, provider: gemini, {_HTTP}}}]", "models[0].provider"),
            (f"models: [{{name: a, provider: azure, azure_deployment: d, {_HTTP}}}]", "models[0].provider"),
            (
                f"models: [{{name: a, provider: vertex, gcp_project: p, gcp_location: l, {_HTTP}}}]",
                "models[0].provider",
            ),
            ("models: [{name: a, provider: demo, pii_filter: true}]", "models[0].pii_filter"),
            (
                "models: [{name: a, provider: demo, fallback: b}, {name: b, provider: demo}]",
                "models[0].fallback",
            ),
            (
                "models: [{name: a, deployments: [{name: x, provider: demo}, {name: y, provider: demo}]}]",
                "models[0].deployments",
            ),
        ):
            (found,) = faults(text)
            self.assertEqual(found.split(": ")[1], path, text)
            self.assertTrue(found.endswith("is not available in this version"), found)

    def test_off(self) -> None:
        """The same keys with what they stand for now are no errors."""
        text = """
            workers: 4
            server: {admin: {port: 8080}}
            redis: {enabled: false}
            mcp_servers: []
            settings: {fallback_max_depth: 0, retention: {usage_events: 0}, mcp: {health: {enabled: true}}}
            models: [{name: a, pii_filter: false, deployments: [{name: x, provider: demo}]}]
        """
        self.assertEqual(faults(text), [])
