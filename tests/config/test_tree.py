"""Texts that are no configuration, and some that are attacks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import faults, parse
from voidllm.config import ConfigErrors, parse_config


class SyntaxTests(SynchronousTestCase):
    """YAML that cannot be used."""

    def test_not_yaml(self) -> None:
        """A syntax error is one message with its line."""
        (found,) = faults("a: 1\nb: [\n")
        self.assertRegex(found, r"^3: is not valid YAML: [a-z ]+$")

    def test_control_character(self) -> None:
        """A character that YAML does not allow is refused."""
        self.assertEqual(len(faults("a: \x01")), 1)

    def test_not_utf8(self) -> None:
        """Bytes that are no UTF-8 are refused."""
        error = self.assertRaises(ConfigErrors, parse_config, b"a: \xff", {}, "t.yaml")
        self.assertEqual(str(error), "t.yaml: is not UTF-8")

    def test_several_documents(self) -> None:
        """A second document is an error, not ignored."""
        self.assertEqual(faults("workers: 1\n---\nworkers: 1"), ["2: only one YAML document is allowed"])

    def test_not_a_mapping(self) -> None:
        """The file, and every section, must be a mapping."""
        self.assertEqual(len(faults("- a")), 1)
        self.assertEqual(len(faults("server: 5")), 1)
        self.assertEqual(len(faults("server: {proxy: []}")), 1)

    def test_empty(self) -> None:
        """An empty file is all defaults; so is a section without content."""
        self.assertEqual(parse("").server.proxy.port, 8080)
        self.assertEqual(parse("# nothing\n").models, ())
        self.assertEqual(parse("models:\nserver:\n  proxy:\n").models, ())

    def test_tags(self) -> None:
        """Tags are refused, other than that of text."""
        self.assertEqual(faults("logging: {level: !!str info}"), [])
        for tag in ("!!python/object:os.system", "!!binary", "!x", "!!int"):
            self.assertIn("tags are not supported", faults(f"logging: {{level: {tag} info}}")[0])

    def test_complex_key(self) -> None:
        """A key that is a list is refused."""
        self.assertEqual(faults("? [a]\n: 1"), ["1: keys must be plain names"])

    def test_duplicate_key(self) -> None:
        """A key that is given twice is an error that says where the first one is."""
        text = "logging:\n  level: info\n  format: json\n  level: debug\n"
        self.assertEqual(faults(text), ["4: logging.level: is given twice, first in line 2"])


class AliasTests(SynchronousTestCase):
    """Anchors, aliases and merging."""

    def test_merge(self) -> None:
        """Merged keys count unless given; a wrong one is shown where it was merged."""
        text = """
            models:
              - &base
                name: a
                provider: vllm
                base_url: http://h/v1
              - <<: *base
                name: b
        """
        config = parse(text)
        self.assertEqual(
            [(m.name, m.base_url) for m in config.models], [("a", "http://h/v1"), ("b", "http://h/v1")]
        )
        text = """
            models:
              - <<: {provider: nobody, base_url: http://h/v1}
                name: b
        """
        (found, *_) = faults(text)
        self.assertTrue(found.startswith("3: models[0].provider: "), found)

    def test_merge_of_something_else(self) -> None:
        """Only mappings can be merged."""
        self.assertEqual(len(faults("<<: 5\n")), 1)

    def test_unknown_and_recursive(self) -> None:
        """An alias of nothing, or of what it is in, is refused."""
        self.assertEqual(len(faults("workers: *w")), 1)
        self.assertEqual(len(faults("models: &m [*m]")), 1)

    def test_billion_laughs(self) -> None:
        """Aliases of aliases are counted as what they stand for."""
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        for n in range(1, 12):
            lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]")
        (found,) = faults("\n".join(lines))
        self.assertIn("more than 50000 values", found)

    def test_deep(self) -> None:
        """Nesting that would end the process in the library's own composer is refused."""
        for text in ("[" * 100_000, "- " * 50_000, "a: " + "{a: " * 20_000, "&a [" * 20_000):
            (found,) = faults(text)
            self.assertRegex(found, "nested|not valid YAML")

    def test_large(self) -> None:
        """More than a MiB is not even parsed."""
        self.assertIn("larger than", faults("# " + "x" * (1 << 20))[0])

    @given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@ \n\t<,?$", max_size=80))
    def test_any_text(self, text: str) -> None:
        """Any text is a configuration or refused, and nothing else happens."""
        try:
            parse_config(text, {}, "t.yaml")
        except ConfigErrors as errors:
            self.assertTrue(errors.problems)
