"""One-time codes and recovery codes."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from pyotp import TOTP, parse_uri
from twisted.trial.unittest import SynchronousTestCase

from voidllm.auth import totp

NOW = 1_795_516_200_000
STEP = NOW // 30_000


class Codes(SynchronousTestCase):
    """RFC 6238."""

    def test_vectors(self) -> None:
        """The codes of RFC 6238 appendix B (SHA-1, the last six of eight digits) are right."""
        secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # the RFC's own, "12345678901234567890"
        for seconds, code in ((59, "287082"), (1111111109, "081804"), (2000000000, "279037")):
            self.assertEqual(totp.step_of(secret, code, seconds * 1000, -1), seconds // 30)

    def test_the_window(self) -> None:
        """The present code and both neighbours are taken, and tell which they are."""
        secret = totp.new_secret(os.urandom)
        for offset, expected in ((-2, None), (-1, STEP - 1), (0, STEP), (1, STEP + 1), (2, None)):
            code = TOTP(secret).generate_otp(STEP + offset)
            self.assertEqual(totp.step_of(secret, code, NOW, 0), expected)

    def test_once(self) -> None:
        """A code that was used, and an earlier one, is none."""
        secret = totp.new_secret(os.urandom)
        self.assertIsNone(totp.step_of(secret, TOTP(secret).generate_otp(STEP), NOW, STEP))
        self.assertIsNone(totp.step_of(secret, TOTP(secret).generate_otp(STEP - 1), NOW, STEP))
        self.assertEqual(totp.step_of(secret, TOTP(secret).generate_otp(STEP + 1), NOW, STEP), STEP + 1)

    def test_as_apps_show_it(self) -> None:
        """A blank in the middle does no harm."""
        secret = totp.new_secret(os.urandom)
        code = TOTP(secret).generate_otp(STEP)
        self.assertEqual(totp.step_of(secret, f"{code[:3]} {code[3:]}", NOW, 0), STEP)

    @given(st.text(max_size=12).filter(lambda text: not text.replace(" ", "").isdigit()))
    def test_anything(self, text: str) -> None:
        """Whatever is typed makes no error."""
        self.assertIsNone(totp.step_of("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", text, NOW, 0))

    def test_the_uri(self) -> None:
        """Apps read issuer, name and secret from the URI, whatever is in the name."""
        secret = totp.new_secret(os.urandom)
        self.assertEqual(len(secret), 32)
        for email in ("ada@example.org", "a+b?secret=x&c@example.org"):
            read = parse_uri(totp.uri_of(secret, email))
            self.assertEqual((read.secret, read.name, read.issuer), (secret, email, "VoidLLM"))


class RecoveryCodes(SynchronousTestCase):
    """For when the app is lost."""

    def test_made(self) -> None:
        """Ten different ones of four groups, which people can read and type."""
        codes = totp.recovery_codes(os.urandom)
        self.assertEqual(len(set(codes)), 10)
        for code in codes:
            self.assertRegex(code, r"\A([a-z2-7]{4}-){3}[a-z2-7]{4}\Z")

    def test_typed(self) -> None:
        """Capitals, blanks and missing hyphens are the same code."""
        self.assertEqual(totp.plain_code(" ABCD efgh-2345_yz27 "), "abcdefgh2345yz27")
