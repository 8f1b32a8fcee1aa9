"""Types, ranges, unknown keys, and all of it at once."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import faults, parse
from voidllm.config import Config, ConfigErrors, parse_config

ENVIRON = {"OPENAI_API_KEY": "sk-openai", "VOIDLLM_ADMIN_KEY": "k" * 32, "VOIDLLM_ENCRYPTION_KEY": "e" * 32}


class GoFileTests(SynchronousTestCase):
    """A file as the Go VoidLLM has them."""

    def setUp(self) -> None:
        text = Path(__file__).with_name("go_style.yaml").read_text("utf-8")
        self.config = parse_config(text, ENVIRON, "voidllm.yaml", "/srv")

    def test_loads(self) -> None:
        """Every key is known and has its value."""
        config = self.config
        self.assertEqual(config.server.proxy.max_stream_duration, 300_000)
        self.assertEqual(config.database.max_open_conns, 40)
        self.assertEqual(
            config.database.dsn, "postgres://voidllm:secret-word@db:5432/voidllm?sslmode=disable"
        )
        self.assertEqual([model.name for model in config.models], ["gpt-4o", "embed", "llama"])
        self.assertEqual(str(config.models[0].pricing.input_per_1m), "2.50")
        self.assertEqual(config.settings.otel.sample_rate, 0.5)
        self.assertEqual(config.settings.mcp.code_mode.schema_ttl, 7 * 86_400_000)
        self.assertEqual(config.settings.pii.patterns[0].type, "ticket")

    def test_warns(self) -> None:
        """Keys that have no effect here are named with their lines, and nothing else is."""
        self.assertEqual(
            [warning.split(": ")[1] for warning in self.config.warnings],
            [
                "settings.license",
                "settings.license_file",
                "settings.admin_key",
                "database.max_idle_conns",
                "cache.key_ttl",
                "cache.model_ttl",
                "cache.alias_ttl",
                "settings.token_counting",
                "settings.soft_limit_threshold",
                "settings.usage.buffer_size",
                "settings.usage.drop_on_full",
            ],
        )
        self.assertTrue(self.config.warnings[1].startswith("voidllm.yaml:66: "))

    def test_frozen(self) -> None:
        """Nothing in it can be changed."""
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            self.config.server.proxy.port = 1  # type: ignore[misc]


class DefaultTests(SynchronousTestCase):
    """What holds when nothing is said."""

    def test_reference(self) -> None:
        """The documented defaults."""
        config = parse("")
        proxy = config.server.proxy
        self.assertEqual((proxy.port, proxy.host), (8080, "0.0.0.0"))
        self.assertEqual(
            (proxy.read_timeout, proxy.write_timeout, proxy.idle_timeout, proxy.drain_timeout),
            (30_000, 120_000, 60_000, 25_000),
        )
        self.assertEqual((proxy.max_request_body, proxy.max_response_body), (20 << 20, 50 << 20))
        self.assertEqual(proxy.max_stream_duration, 0)
        self.assertEqual((config.stream.commit_after, config.stream.keepalive), (15_000, 15_000))
        self.assertEqual((config.stream.idle_timeout, config.stream.first_token_timeout), (120_000, 0))
        self.assertEqual((config.upstream.engine, config.upstream.head_timeout), ("auto", 600_000))
        self.assertEqual((config.usage.fsync, config.usage.reserve_mb), ("off", 64))
        self.assertEqual((config.logging.level, config.logging.format), ("info", "json"))
        self.assertEqual(config.warnings, ())

    def test_database_is_in_the_state_folder(self) -> None:
        """Without a DSN the SQLite file is where the rest of the state is."""
        self.assertEqual(parse("state_dir: /var/lib/v").database.dsn, "/var/lib/v/voidllm.db")
        self.assertEqual(parse("", cwd="/srv").database.dsn, "/srv/var/voidllm.db")
        self.assertEqual(parse("database: {dsn: a.db}", cwd="/srv").database.dsn, "/srv/a.db")
        self.assertEqual(parse("database: {dsn: 'file:/x/a.db?_fk=1'}", cwd="/srv").database.dsn, "/x/a.db")

    def test_paths(self) -> None:
        """Every file named is made absolute, those of models too."""
        text = """
            state_dir: state
            upstream: {ca_file: ca.pem}
            models: [{name: a, provider: vllm, base_url: "http://h/v1", tls: {ca_file: b.pem}}]
        """
        config = parse(text, cwd="/srv")
        self.assertEqual(config.state_dir, "/srv/state")
        self.assertEqual(config.upstream.ca_file, "/srv/ca.pem")
        self.assertEqual(config.models[0].tls.ca_file, "/srv/b.pem")

    def test_zero_means_default(self) -> None:
        """Where 0 has always meant the default, it still does."""
        proxy = parse(
            "server: {proxy: {read_timeout: 0, write_timeout: 0s, max_request_body: 0}}"
        ).server.proxy
        self.assertEqual(
            (proxy.read_timeout, proxy.write_timeout, proxy.max_request_body), (30_000, 120_000, 20 << 20)
        )

    def test_off_is_a_word(self) -> None:
        """YAML would read 'off' as a switch; a key that takes words takes it as one."""
        self.assertEqual(parse("usage: {fsync: off}").usage.fsync, "off")

    def test_networks(self) -> None:
        """Trusted proxies are networks; an address is one of its own."""
        config = parse("server: {trusted_proxies: [10.1.2.3/8, '::1']}")
        self.assertEqual(config.server.trusted_proxies, (ip_network("10.0.0.0/8"), ip_network("::1")))


class FaultTests(SynchronousTestCase):
    """What is wrong, and how it is said."""

    def test_all_at_once(self) -> None:
        """Unknown keys, wrong types, missing variables and broken rules come together, by line."""
        text = """
            server:
              proxy: {prot: 80, port: 99999, read_timeout: 30}
            databse: {}
            models:
              - name: x
                provder: openai
                api_key: ${NOPE}
                timeout: 5 minutes
              - 7
              - name: x
                provider: demo
            redis: {enabled: yes}
        """
        self.assertEqual(
            faults(text),
            [
                "3: server.proxy.port: must be from 1 to 65535",
                "3: server.proxy.prot: is not a known key; did you mean port?",
                "3: server.proxy.read_timeout: must be a duration such as 30s, 1h30m or 90d, with a unit",
                "4: databse: is not a known key; did you mean database?",
                "6: models[0].provider: is required",
                "7: models[0].provder: is not a known key; did you mean provider?",
                "8: models[0].api_key: needs the environment variable NOPE, which is not set",
                "9: models[0].timeout: must be a duration such as 30s, 1h30m or 90d, with a unit",
                "10: models[1]: must be a mapping of keys",
                "11: models[2].name: is the name of another model too",
                "13: redis.enabled: is not available in this version",
            ],
        )

    def test_ranges(self) -> None:
        """Both ends of a range hold, and what is beyond is refused with the range."""
        for value, good in (("9s", False), ("10s", True), ("1h", True), ("61m", False), ("0", True)):
            found = faults(f"server: {{proxy: {{max_stream_duration: {value}}}}}")
            self.assertEqual(not found, good, value)
        self.assertEqual(
            faults("server: {proxy: {max_stream_duration: 1s}}"),
            ["1: server.proxy.max_stream_duration: must be 0 or from 10s to 1h"],
        )
        self.assertEqual(len(faults("server: {proxy: {write_timeout: 999ms}}")), 1)
        self.assertEqual(len(faults("server: {proxy: {max_request_body: 104857601}}")), 1)
        self.assertEqual(len(faults("server: {proxy: {drain_timeout: 121s}}")), 1)
        self.assertEqual(len(faults("settings: {soft_limit_threshold: 1.1}")), 1)
        self.assertEqual(len(faults("settings: {fallback_max_depth: 11}")), 1)

    def test_workers(self) -> None:
        """A number of workers is taken as it is, auto becomes one for each core."""
        self.assertEqual(parse("workers: 3").workers.on(8), 3)
        auto = parse("workers: auto").workers
        self.assertEqual((auto.on(8), auto.on(1), str(auto)), (8, 1, "auto"))
        self.assertEqual([parse(f"workers: {n}").redacted()["workers"] for n in ("auto", 2)], ["auto", 2])

    def test_workers_on_the_other_front(self) -> None:
        """Workers have no twisted.web."""
        with self.assertRaises(ConfigErrors) as caught:
            parse("{workers: 2, server: {front: twisted}}")
        self.assertEqual([problem.path for problem in caught.exception.problems], [("server", "front")])

    def test_types(self) -> None:
        """A value of another type is refused, whatever it is."""
        for text in (
            "workers: one",
            "workers: 0",
            "workers: 65",
            "workers: -1",
            "workers: 1.5",
            "workers: [1]",
            "workers: {a: 1}",
            "workers: 99999999999999999999999",
            "redis: {enabled: 1}",
            "redis: {enabled: 'true'}",
            "models: {name: a}",
            "models: a",
            "logging: {level: [info]}",
            "settings: {soft_limit_threshold: nan}",
            "settings: {soft_limit_threshold: inf}",
            "server: {trusted_proxies: [x]}",
            "server: {trusted_proxies: 10.0.0.0/8}",
            "logging: {level: loud}",
        ):
            self.assertEqual(len(faults(text)), 1, text)

    def test_secrets_are_long_enough(self) -> None:
        """Short secrets are refused, without being shown."""
        for text in ("settings: {admin_key: tooshort1}", "metrics: {token: tooshort1}"):
            (found,) = faults(text)
            self.assertIn("at least", found)
            self.assertNotIn("tooshort1", found)

    def test_no_value_in_any_message(self) -> None:
        """A canary in the place of any value, or misplaced as a key, is in no message."""
        canary = "sk-CANARY-+/=="
        for kind in (
            f"'{canary}'",
            f"['{canary}']",
            f"{{'{canary}': 1}}",
            f"'${{{canary}}}'",
            f"!x '{canary}'",
        ):
            for path in _paths(Config):
                text = kind
                for part in reversed(path):
                    text = f"[{text}]" if part == "[]" else f"{{{part}: {text}}}"
                for message in faults(text):
                    self.assertNotIn("CANARY", message)

    def test_control_characters(self) -> None:
        """A line break cannot get into a header or log line by way of a value."""
        self.assertEqual(len(faults('models: [{name: "a\\nb", provider: demo}]')), 1)
        self.assertIn(
            "visible ASCII",
            faults('models: [{name: a, provider: vllm, base_url: "http://h", api_key: "é"}]')[0],
        )

    def test_host_cannot_be_an_endpoint(self) -> None:
        """What is listened on is put into an endpoint description, so colons and spaces must not lie."""
        self.assertEqual(faults("server: {proxy: {host: '::'}}"), [])
        for host in ("''", "'a b'", "'a/b'", "'a\\b'", "'1=2'"):
            self.assertEqual(len(faults(f"server: {{proxy: {{host: {host}}}}}")), 1, host)

    def test_tls_needs_files(self) -> None:
        """TLS without a certificate and its key is an error."""
        self.assertEqual(len(faults("server: {proxy: {tls: {enabled: true}}}")), 2)
        self.assertEqual(faults("server: {proxy: {tls: {enabled: true, cert: a, key: b}}}"), [])

    def test_database_rules(self) -> None:
        """A DSN that does not fit its driver is refused."""
        for text in (
            "database: {driver: postgres}",
            "database: {driver: mysql}",
            "database: {dsn: 'postgres://h/d'}",
            "database: {dsn: ':memory:'}",
            "database: {max_open_conns: 2, max_idle_conns: 3}",
        ):
            self.assertEqual(len(faults(text)), 1, text)

    def test_errors_are_ours(self) -> None:
        """The exception holds each problem with path, line and message."""
        with self.assertRaises(ConfigErrors) as caught:
            parse("workers: x")
        (problem,) = caught.exception.problems
        self.assertEqual((problem.path, problem.line), (("workers",), 1))


def _paths(kind: type, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    attrs.resolve_types(kind)
    found: list[tuple[str, ...]] = []
    for attribute in attrs.fields(kind):
        inner = attribute.type
        path = (*before, attribute.name)
        found.append(path)
        if isinstance(inner, type) and attrs.has(inner):
            found += _paths(inner, path)
        elif attribute.name == "models":
            from voidllm.config.models import ModelConfig

            found += _paths(ModelConfig, (*path, "[]"))
    return found
