"""What changing and resetting passwords looks like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.auth_shapes import NewPassword, Password
from voidllm.admin.kinds import Asked, Count, Once, Time


class PasswordChange(Asked):
    """One's own new password."""

    current_password: Password
    new_password: Annotated[NewPassword, Meta(description="not one's e-mail address")]


class PasswordChanged(Struct, kw_only=True, frozen=True):
    """What came of it."""

    sessions_ended: Annotated[Count, Meta(description="all others of that person")]


class ResetToken(Struct, kw_only=True, frozen=True):
    """What lets somebody choose a new password, once."""

    token: Once | UnsetType = UNSET
    expires_at: Time


class ResetRedeem(Asked):
    """A new password by a reset token."""

    token: Annotated[str, Meta(min_length=1, max_length=100)]
    new_password: Annotated[NewPassword, Meta(description="not one's e-mail address")]
