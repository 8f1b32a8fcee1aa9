"""Which file counts, what others may see of it, and what a reload applies."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import get_args

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import parse
from voidllm.config import Config, ConfigErrors, diff_needs_restart, load_config
from voidllm.config.fields import about

ROOT = Path(__file__).resolve().parents[2]


class LoadTests(SynchronousTestCase):
    """The order of files."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def _write(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        Path(path).write_text(text, "utf-8")
        return path

    def test_order(self) -> None:
        """The option wins over the variable, and that over the file in the working directory."""
        self._write("voidllm.yaml", "server: {proxy: {port: 1}}")
        self._write("b.yaml", "server: {proxy: {port: 2}}")
        option = self._write("c.yaml", "server: {proxy: {port: 3}}")
        environ = {"VOIDLLM_CONFIG": "b.yaml"}
        self.assertEqual(load_config(option, environ, self.folder).server.proxy.port, 3)
        self.assertEqual(load_config(None, environ, self.folder).server.proxy.port, 2)
        config = load_config(None, {}, self.folder)
        self.assertEqual((config.server.proxy.port, config.source), (1, "voidllm.yaml"))

    def test_named_file_must_be_there(self) -> None:
        """A named file that is missing is an error, even if another one is there."""
        self._write("voidllm.yaml", "")
        for path, environ in (("no.yaml", {}), (None, {"VOIDLLM_CONFIG": "no.yaml"})):
            error = self.assertRaises(ConfigErrors, load_config, path, environ, self.folder)
            self.assertEqual(str(error), "no.yaml: cannot be read: No such file or directory")

    def test_parts(self) -> None:
        """Who needs only some keys is not bothered by what is wrong with the others."""
        text = "state_dir: s\nmodels: [{name: m, provider: vllm, api_key: '${NOT_SET}'}]\nnonsense: 1\n"
        path = self._write("p.yaml", text)
        self.assertRaises(ConfigErrors, load_config, path, {}, self.folder)
        config = load_config(path, {}, self.folder, parts={"state_dir"})
        self.assertEqual((os.path.basename(config.state_dir), config.models), ("s", ()))
        self.assertRaises(ConfigErrors, load_config, path, {}, self.folder, parts={"models"})
        broken = self._write("q.yaml", "state_dir: [")
        self.assertRaises(ConfigErrors, load_config, broken, {}, self.folder, parts={"state_dir"})

    def test_folder_is_no_file(self) -> None:
        """What cannot be read is an error like any other."""
        self.assertRaises(ConfigErrors, load_config, self.folder, {}, "/")

    def test_environment_only(self) -> None:
        """Without a file a few variables count; with one they do not."""
        environ = {
            "VOIDLLM_DATABASE_DRIVER": "postgres",
            "VOIDLLM_DATABASE_DSN": "postgres://h/d",
            "VOIDLLM_ADMIN_KEY": "k" * 32,
            "VOIDLLM_ENCRYPTION_KEY": "e" * 32,
            "VOIDLLM_LICENSE": "x",
        }
        config = load_config(None, environ, self.folder)
        self.assertEqual((config.database.driver, config.database.dsn), ("postgres", "postgres://h/d"))
        self.assertEqual((config.settings.admin_key, config.settings.encryption_key), ("k" * 32, "e" * 32))
        self.assertIsNone(config.source)
        self.assertEqual(len(config.warnings), 2)
        self._write("voidllm.yaml", "")
        self.assertEqual(load_config(None, environ, self.folder).database.driver, "sqlite")

    def test_environment_is_checked(self) -> None:
        """Variables keep the rules of their keys."""
        environ = {"VOIDLLM_DATABASE_DRIVER": "mysql", "VOIDLLM_ADMIN_KEY": "short"}
        error = self.assertRaises(ConfigErrors, load_config, None, environ, self.folder)
        self.assertEqual(len(error.problems), 2)

    def test_too_large(self) -> None:
        """A file without end is not read to its end."""
        self.assertIn("larger", str(self.assertRaises(ConfigErrors, load_config, "/dev/zero", {}, "/")))


class ShippedTests(SynchronousTestCase):
    """The files in the repository."""

    def test_shipped_file(self) -> None:
        """It loads clean, and its state is in the clone's var."""
        config = load_config("etc/voidllm.yaml", {}, str(ROOT))
        self.assertEqual(config.warnings, ())
        self.assertEqual(config.state_dir, str(ROOT / "var"))
        self.assertEqual(config.database.dsn, str(ROOT / "var" / "voidllm.db"))
        self.assertEqual([(model.name, model.provider) for model in config.models], [("demo", "demo")])
        self.assertEqual(config.server.proxy.host, "127.0.0.1")

    def test_shipped_example(self) -> None:
        """The commented example of a real provider loads once its signs are taken away."""
        text = (ROOT / "etc" / "voidllm.yaml").read_text("utf-8")
        lines = [line.replace("  # ", "  ", 1) for line in text.splitlines() if "  # " in line[:4]]
        example = [line for line in lines if line.startswith(("  - ", "    "))]
        self.assertEqual(len(example), 5)
        config = parse("models:\n" + "\n".join(example), {"OPENAI_API_KEY": "sk"})
        self.assertEqual((config.models[0].provider, config.models[0].api_key), ("openai", "sk"))

    def test_debian_file(self) -> None:
        """The package's file loads clean."""
        config = load_config("debian/voidllm.yaml", {}, str(ROOT))
        self.assertEqual(config.database.dsn, "/var/lib/voidllm/voidllm.db")

    def test_every_key_is_described(self) -> None:
        """Each key of each section has a sentence for the reference page."""
        todo: list[type] = [Config]
        while todo:
            kind = todo.pop()
            attrs.resolve_types(kind)
            for attribute in attrs.fields(kind):
                described = about(attribute)
                inner = attribute.type
                parts = (inner, *get_args(inner))
                sections = [part for part in parts if isinstance(part, type) and attrs.has(part)]
                todo += sections
                if described is not None and not sections:
                    self.assertTrue(described.doc.endswith("."), attribute.name)


class ViewTests(SynchronousTestCase):
    """What others may see."""

    def test_redacted(self) -> None:
        """No secret and no credentials in URLs are left; the rest is plain and readable."""
        text = """
            database: {driver: postgres, dsn: "host=h user=u password='CAN ARY' dbname=d"}
            redis: {url: "redis://:CANARY@h:6379/0"}
            upstream: {proxy: {url: "http://u:CANARY@p:3128"}}
            metrics: {token: CANARYCANARYCANARY}
            models:
              - {name: m, provider: vllm, base_url: "http://h", api_key: CANARY, pricing: {input_per_1m: 2.5}}
            server: {trusted_proxies: [10.0.0.0/8]}
            settings:
              admin_key: CANARYCANARYCANARYCANARYCANARYCANARY
              pii: {gazetteer: {terms: [{type: x, values: [CANARY]}]}}
        """
        shown = parse(text).redacted()
        encoded = json.dumps(shown)
        self.assertNotIn("CAN", encoded)
        self.assertEqual(shown["models"][0]["api_key"], "***")
        self.assertEqual(shown["models"][0]["pricing"]["input_per_1m"], "2.5")
        self.assertEqual(shown["settings"]["encryption_key"], "")
        self.assertEqual(shown["database"]["dsn"], "host=h user=u password=*** dbname=d")
        self.assertEqual(shown["upstream"]["proxy"]["url"], "http://***@p:3128")
        self.assertEqual(shown["server"]["proxy"]["read_timeout"], "30s")
        self.assertEqual(shown["server"]["trusted_proxies"], ["10.0.0.0/8"])
        self.assertNotIn("warnings", shown)

    def test_password_with_at_sign(self) -> None:
        """All of a password is hidden, whatever it holds."""
        shown = parse("database: {driver: postgres, dsn: 'postgres://u:a@b@h/d?password=c&x=1'}").redacted()
        self.assertEqual(shown["database"]["dsn"], "postgres://***@h/d?password=***&x=1")

    def test_restart(self) -> None:
        """Keys that only a restart applies are named; models and streams are not among them."""
        old = parse("")
        new = parse(
            """
            workers: 1
            server: {proxy: {port: 9, max_request_body: 5}, trusted_proxies: [::1/128]}
            database: {dsn: x.db}
            models: [{name: m, provider: demo}]
            stream: {keepalive: 5s}
            logging: {level: debug, format: text}
        """.replace("[::1/128]", "['::1']")
        )
        self.assertEqual(
            diff_needs_restart(old, new),
            ["server.proxy.port", "server.trusted_proxies", "database.dsn", "logging.format"],
        )
        self.assertEqual(diff_needs_restart(old, old), [])
