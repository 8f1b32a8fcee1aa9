"""Which columns hold sealed secrets: walked to find what cannot be read, and to seal it anew.

A table that keeps a secret gets a line in :data:`SEALED`; see :mod:`voidllm.core.keyring`.
"""

from __future__ import annotations

from attrs import frozen

#: Under this name ``meta`` keeps the check value of the encryption key that seals.
KEY_CHECK = "encryption_key_check"
#: And under this one, sealed, what API keys are digested with.
DIGEST_KEY = "api_digest_key"


@frozen
class Sealed:
    """A column of sealed secrets or NULL.

    :ivar id_column: the text that tells rows apart, the ``row_id`` that secrets are bound to.
    :ivar only: a condition on the rows that are meant.
    """

    table: str
    column: str
    id_column: str = "id"
    only: str = ""

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.table}.{self.column}"


SEALED: tuple[Sealed, ...] = (
    Sealed("meta", "value", "name", f"name = '{DIGEST_KEY}'"),
    Sealed("credentials", "api_key"),
    Sealed("deployments", "api_key"),
    Sealed("org_sso", "client_secret", "org_id"),
    Sealed("totp", "secret", "user_id"),
)
