"""Second factors: one-time codes by time (RFC 6238), and recovery codes for when they are lost."""

from __future__ import annotations

import base64
from typing import Callable

from pyotp import TOTP
from pyotp.utils import strings_equal

ISSUER = "VoidLLM"
#: Seconds that one code is for.
STEP_S = 30
#: How many codes before and after the present one are taken: clocks differ.
_WINDOW = 1
_SECRET_BYTES = 20
_DIGITS = 6

RECOVERY_CODES = 10
_RECOVERY_BYTES = 10
_GROUP = 4


def new_secret(random_bytes: Callable[[int], bytes]) -> str:
    """Make a secret of 160 bits (RFC 4226 section 4), in base 32 as apps want it."""
    return base64.b32encode(random_bytes(_SECRET_BYTES)).decode("ascii")


def uri_of(secret: str, email: str) -> str:
    """Give the ``otpauth:`` URI that an app reads from a picture."""
    uri: str = TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)
    return uri


def step_of(secret: str, code: str, now_ms: int, last_step: int) -> int | None:
    """Find the time step that a code is for.

    :param last_step: of the last code that was used; neither it nor an earlier one is taken
        (RFC 6238 section 5.2).
    :returns: the number of the step, which is then the last one, or ``None`` for a wrong code.
    """
    code = code.replace(" ", "")
    if len(code) != _DIGITS or not (code.isascii() and code.isdigit()):
        return None
    generator = TOTP(secret)
    now = now_ms // 1000 // STEP_S
    found = None
    for step in range(now - _WINDOW, now + _WINDOW + 1):
        # Every one is computed, so that the time says nothing of which it was.
        if strings_equal(generator.generate_otp(step), code) and step > last_step:
            found = step
    return found


def recovery_codes(random_bytes: Callable[[int], bytes]) -> tuple[str, ...]:
    """Make ten recovery codes of 80 bits, for people to write down."""
    return tuple(_recovery_code(random_bytes(_RECOVERY_BYTES)) for _ in range(RECOVERY_CODES))


def plain_code(code: str) -> str:
    """Give a recovery code as it is digested, however somebody has typed it."""
    return "".join(letter for letter in code.lower() if letter.isalnum() and letter.isascii())


def _recovery_code(raw: bytes) -> str:
    text = base64.b32encode(raw).decode("ascii").lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))
