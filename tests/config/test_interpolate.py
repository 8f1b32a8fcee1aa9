"""``${VAR}`` in values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.config.support import faults, parse
from voidllm.config.errors import Unusable
from voidllm.config.interpolate import interpolate


class InterpolateTests(SynchronousTestCase):
    """The text rules."""

    def test_replaced(self) -> None:
        """Variables, defaults and escapes become what they stand for."""
        environ = {"A": "x", "EMPTY": "", "D": "$"}
        for text, result in (
            ("${A}", "x"),
            ("a${A}b${A}", "axbx"),
            ("${B:-d}", "d"),
            ("${B:-}", ""),
            ("${EMPTY:-d}", "d"),
            ("${A:-d}", "x"),
            ("${B:-a:-b}", "a:-b"),
            ("${B:-{x}}", "{x}"),
            ("$${A}", "${A}"),
            ("$A $ $$", "$A $ $$"),
            ("${D}{A}", "${A}"),
        ):
            self.assertEqual(interpolate(text, environ), result, text)

    def test_missing(self) -> None:
        """A variable that is unset or empty and has no default is named."""
        for environ in ({}, {"KEY": ""}):
            error = self.assertRaises(Unusable, interpolate, "${KEY}", environ)
            self.assertIn("KEY", str(error))

    def test_malformed(self) -> None:
        """An opening without a proper name and end is an error, not a literal."""
        for text in ("${", "${A", "${1A}", "${A-b}", "${}", "${A:d}"):
            self.assertRaises(Unusable, interpolate, text, {"A": "x"})

    def test_result_is_not_looked_at_again(self) -> None:
        """A value from outside cannot name further variables."""
        self.assertEqual(interpolate("${A}", {"A": "${B}", "B": "secret"}), "${B}")

    def test_bounded(self) -> None:
        """Long values cannot be multiplied without end."""
        self.assertRaises(Unusable, interpolate, "${A}" * 100, {"A": "x" * 10_000})

    @given(st.text(max_size=60), st.text(max_size=60))
    def test_any_text(self, text: str, value: str) -> None:
        """A text without '${' stays as it is; escaped, any text does."""
        if "${" not in text:
            self.assertEqual(interpolate(text, {"A": value}), text)
        if "$" not in text:
            self.assertEqual(interpolate(text + "$${", {}), text + "${")
        if value:
            self.assertEqual(interpolate("${A}", {"A": value}), value)


class ValueTests(SynchronousTestCase):
    """Interpolation happens to values, after parsing."""

    def test_secret_with_any_character(self) -> None:
        """A secret that is YAML syntax stays the text that it is."""
        secret = "a#b: \"c' {d} [e] *f &g !h | >"
        config = parse("settings: {admin_key: '${K}'}", {"K": secret + "x" * 32})
        self.assertEqual(config.settings.admin_key, secret + "x" * 32)

    def test_number_stays_text(self) -> None:
        """A text key takes a value that looks like a number as it is written."""
        config = parse("models: [{name: '${N}', provider: demo}, {name: 007, provider: demo}]", {"N": "1e3"})
        self.assertEqual([model.name for model in config.models], ["1e3", "007"])

    def test_whole_expression_may_be_a_number(self) -> None:
        """A bare expression alone is read as what its key takes."""
        text = """
            server: {proxy: {port: "8081"}}
        """
        self.assertEqual(faults(text), ["2: server.proxy.port: must be a whole number, without quotes"])
        text = """
            server:
              proxy:
                port: ${PORT:-8082}
                drain_timeout: ${D}
              front: ${F}
            redis:
              enabled: ${ON:-no}
        """
        config = parse(text, {"D": "30s", "F": "twisted"})
        self.assertEqual(config.server.proxy.port, 8082)
        self.assertEqual(config.server.proxy.drain_timeout, 30_000)
        self.assertEqual(config.server.front, "twisted")
        self.assertFalse(config.redis.enabled)

    def test_pieced_together_is_text(self) -> None:
        """Digits around an expression make no number."""
        self.assertEqual(len(faults("server:\n  proxy:\n    port: 80${A}", {"A": "80"})), 1)

    def test_keys_and_comments_are_left_alone(self) -> None:
        """Nothing is replaced in keys and comments."""
        self.assertEqual(faults("# ${NOPE}\nlogging:\n  level: warn # ${NOPE}"), [])
        self.assertEqual(len(faults("${logging}: 1", {"logging": "logging"})), 1)

    def test_all_missing_at_once(self) -> None:
        """Every missing variable is reported, with its line, and nothing that follows from it."""
        text = """
            models:
              - name: a
                provider: openai
                base_url: ${URL}
                api_key: ${KEY}
        """
        self.assertEqual(
            faults(text),
            [
                "5: models[0].base_url: needs the environment variable URL, which is not set",
                "6: models[0].api_key: needs the environment variable KEY, which is not set",
            ],
        )
