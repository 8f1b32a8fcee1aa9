"""Rules for models, and what the data plane gets of them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import faults, parse
from voidllm.config import Pricing, build_models, global_aliases
from voidllm.config.proxies import proxy_for
from voidllm.config.upstream import UpstreamProxy
from voidllm.core.model import SYSTEM_TLS, Price


def _free(provider: str, upstream_model: str, pricing: Pricing) -> Price | None:
    return None


class RuleTests(SynchronousTestCase):
    """What a list of models must be."""

    def _one(self, *models: str) -> str:
        found = faults("models:\n" + "".join(f"  - {{{model}}}\n" for model in models))
        self.assertEqual(len(found), 1, found)
        return found[0].split(": ", 1)[1]

    def test_names(self) -> None:
        """Names are there, unique, and not of the shape of deleted ones."""
        self.assertEqual(self._one("provider: demo"), "models[0].name: is required")
        self.assertIn("another model", self._one("name: a, provider: demo", "name: a, provider: demo"))
        self.assertIn("deleted", self._one("name: 'a:deleted:1', provider: demo"))

    def test_aliases(self) -> None:
        """An alias is unique and no model's name, even of a later model."""
        self.assertEqual(
            self._one("name: a, provider: demo, aliases: [b]", "name: b, provider: demo"),
            "models[0].aliases[0]: is the name of a model",
        )
        self.assertEqual(
            self._one("name: a, provider: demo, aliases: [s]", "name: b, provider: demo, aliases: [s]"),
            "models[1].aliases[0]: is an alias of models[0] already",
        )
        self.assertIn("empty", self._one("name: a, provider: demo, aliases: ['']"))

    def test_base_url(self) -> None:
        """It is an http or https URL with a host and nothing that would be lost or leak."""
        self.assertEqual(self._one("name: a, provider: vllm"), "models[0].base_url: is required")
        for url in (
            "ftp://h/v1",
            "h/v1",
            "http://",
            "http://h:99999/v1",
            "http://u:p@h/v1",
            "http://h/v1?x=1",
            "http://h/v1#f",
            "http://h/a b",
            "http://[::1/v1",
        ):
            self.assertIn("base_url: must", self._one(f"name: a, provider: vllm, base_url: '{url}'"), url)
        self.assertIn("demo", self._one("name: a, provider: demo, base_url: 'http://h'"))

    def test_strategy_is_for_deployments(self) -> None:
        """A strategy without deployments, or one that does not exist, is refused."""
        self.assertIn("deployments", self._one("name: a, provider: demo, strategy: weighted"))
        self.assertIn(
            "one of", self._one("name: a, deployments: [{name: x, provider: demo}], strategy: luck")
        )

    def test_deployments(self) -> None:
        """Deployments have names of their own and keep the rules of endpoints."""
        self.assertIn("deployments[0].name", self._one("name: a, deployments: [{provider: demo}]"))
        self.assertIn("deployments[0].provider", self._one("name: a, deployments: [{name: x}]"))

    def test_client_certificate_needs_key(self) -> None:
        """Half a client certificate is an error."""
        self.assertIn(
            "client_key", self._one("name: a, provider: vllm, base_url: 'http://h', tls: {client_cert: c}")
        )

    def test_fallbacks(self) -> None:
        """A fallback exists, and the chain does not come back."""
        found = faults("models: [{name: a, provider: demo, fallback: nobody}]")
        self.assertIn("1: models[0].fallback: is not the name or alias of a model", found)
        found = faults(
            "models: [{name: a, provider: demo, fallback: z}, "
            "{name: b, provider: demo, aliases: [z], fallback: a}]"
        )
        self.assertEqual(len([line for line in found if "leads back" in line]), 2)

    def test_prices(self) -> None:
        """Prices are numbers from 0 to a million."""
        for price in ("-1", "1000001", "x", "'1'", "nan"):
            self.assertIn(
                "input_per_1m: must",
                self._one(f"name: a, provider: demo, pricing: {{input_per_1m: {price}}}"),
            )
        model = parse("models: [{name: a, provider: demo, pricing: {input_per_1m: 0}}]").models[0]
        self.assertTrue(model.pricing.given)
        self.assertFalse(parse("models: [{name: a, provider: demo}]").models[0].pricing.given)


class CatalogueTests(SynchronousTestCase):
    """From configuration to the nouns of the data plane."""

    def test_single(self) -> None:
        """A model without deployments gets one, named as the model is."""
        text = """
            models:
              - name: b
                provider: openai
                base_url: https://h/v1/
                api_key: sk-1
                aliases: [x, y]
                timeout: 90s
                max_context_tokens: 5
              - {name: a, provider: demo}
        """
        config = parse(text)
        asked: list[tuple[str, str]] = []

        def price_of(provider: str, upstream_model: str, pricing: Pricing) -> Price | None:
            asked.append((provider, upstream_model))
            return Price("v", 1) if provider == "openai" else None

        models = build_models(config, price_of)
        self.assertEqual(list(models), ["a", "b"])
        model = models["b"]
        (deployment,) = model.deployments
        self.assertEqual((deployment.key, deployment.name), ("b", "b"))
        self.assertEqual(deployment.base_url, "https://h/v1")
        self.assertEqual((deployment.upstream_model, deployment.api_key), ("b", "sk-1"))
        self.assertEqual((deployment.timeout_ms, deployment.tls), (90_000, SYSTEM_TLS))
        self.assertEqual((model.price, model.max_context_tokens), (Price("v", 1), 5))
        self.assertIsNone(models["a"].deployments[0].timeout_ms)
        self.assertEqual(models["a"].deployments[0].base_url, "")
        self.assertEqual(global_aliases(config.models), {"x": "b", "y": "b"})
        self.assertEqual(sorted(asked), [("demo", "a"), ("openai", "b")])

    def test_deployment(self) -> None:
        """A deployment is keyed below its model and inherits the model's timeout and upstream name."""
        text = """
            upstream: {ca_file: /ca.pem}
            models:
              - name: m
                timeout: 5s
                upstream_model: real
                strategy: weighted
                deployments: [{name: d, provider: vllm, base_url: "http://h/v1", weight: 0, priority: 3}]
        """
        (deployment,) = build_models(parse(text), _free)["m"].deployments
        self.assertEqual((deployment.key, deployment.name), ("m/d", "d"))
        self.assertEqual((deployment.weight, deployment.priority, deployment.timeout_ms), (1, 3, 5000))
        self.assertEqual((deployment.upstream_model, deployment.tls.ca_file), ("real", "/ca.pem"))

    def test_secrets_are_not_shown(self) -> None:
        """The text form of a configuration, and of what is built of it, holds no secret."""
        text = """
            database: {driver: postgres, dsn: "postgres://u:CANARY@h/d"}
            upstream: {proxy: {url: "http://u:CANARY@p:3128"}}
            metrics: {token: CANARYCANARYCANARY}
            models: [{name: m, provider: vllm, base_url: "https://h/v1", api_key: CANARY}]
        """
        config = parse(text)
        self.assertNotIn("CANARY", repr(config))
        self.assertNotIn("CANARY", repr(build_models(config, _free)))


class ProxyTests(SynchronousTestCase):
    """Which upstreams are reached over a proxy."""

    def test_configured(self) -> None:
        """A configured proxy is for everything that is not exempt."""
        proxy = UpstreamProxy(
            url="http://p:1", no_proxy=("example.com", ".corp", "10.0.0.0/8", "h:8080", "fd00::/8")
        )
        for url, used in (
            ("https://api.openai.com/v1", True),
            ("http://h/v1", True),
            ("http://h:8080/v1", False),
            ("https://example.com/v1", False),
            ("https://a.example.com/v1", False),
            ("https://notexample.com/v1", True),
            ("https://gpu.corp/v1", False),
            ("http://10.2.3.4/v1", False),
            ("http://11.2.3.4/v1", True),
            ("http://[fd00::1]/v1", False),
        ):
            self.assertEqual(proxy_for(url, proxy, {}), "http://p:1" if used else None, url)

    def test_environment(self) -> None:
        """Without one, the environment's is for https upstreams that are not loopback."""
        environ = {"HTTPS_PROXY": "p:3128", "NO_PROXY": "internal,*.lan"}
        for url, used in (
            ("https://api.openai.com/v1", True),
            ("http://api.openai.com/v1", False),
            ("https://localhost/v1", False),
            ("https://127.0.0.1/v1", False),
            ("https://internal/v1", False),
            ("https://a.lan/v1", False),
        ):
            self.assertEqual(proxy_for(url, UpstreamProxy(), environ), "http://p:3128" if used else None, url)
        self.assertEqual(
            proxy_for("https://h/v1", UpstreamProxy(), {"https_proxy": "http://q:1"}), "http://q:1"
        )
        self.assertIsNone(proxy_for("https://h/v1", UpstreamProxy(), {"HTTPS_PROXY": "socks5://q:1"}))
        self.assertIsNone(proxy_for("https://h/v1", UpstreamProxy(), {**environ, "NO_PROXY": "*"}))
