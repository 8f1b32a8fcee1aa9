"""What setting up a second factor looks like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.auth_shapes import Code, Password
from voidllm.admin.kinds import Asked, Once


class Prove(Asked):
    """What shows that it is not only somebody's open browser: one of the two."""

    current_password: Password | None = None
    totp: Code | None = None


class Confirm(Asked):
    """A first code of the app."""

    totp: Code


class Secret(Struct, kw_only=True, frozen=True):
    """For an authenticator app: SHA-1, six digits, 30 seconds."""

    secret: Annotated[Once, Meta(description="base 32; shown this once")] | UnsetType = UNSET
    uri: Annotated[Once, Meta(description="the same as an otpauth: URI")] | UnsetType = UNSET


class RecoveryCodes(Struct, kw_only=True, frozen=True):
    """Codes for when the app is lost; each works once."""

    recovery_codes: (
        Annotated[
            list[str], Meta(description="shown this once; absent when an Idempotency-Key is used again")
        ]
        | UnsetType
    ) = UNSET
