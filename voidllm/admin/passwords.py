"""Routes about passwords."""

from __future__ import annotations

from voidllm.admin import password_operations as operations
from voidllm.admin.access import WRITE
from voidllm.admin.declare import Route
from voidllm.admin.password_shapes import PasswordChange, PasswordChanged, ResetRedeem, ResetToken
from voidllm.auth.roles import MEMBER, ORG_ADMIN

ROUTES = (
    Route(
        "POST",
        "/api/v1/me/password",
        "change_my_password",
        "Change one's password",
        operations.change_password,
        PasswordChanged,
        MEMBER,
        WRITE,
        tenant="self",
        body=PasswordChange,
        codes=("conflict", "too_many_requests"),
        unready=True,
        example={
            "current_password": "the first one was generated",
            "new_password": "correct horse battery staple",
        },
        description="All other sessions of the caller end.",
    ),
    Route(
        "POST",
        "/api/v1/users/{user_id}/password-reset",
        "issue_password_reset",
        "Make a token by which somebody can choose a new password",
        operations.issue_reset,
        ResetToken,
        ORG_ADMIN,
        WRITE,
        status=201,
        codes=("conflict",),
        secrets=("token",),
        description=(
            "It works once, for an hour, and takes the place of an earlier one. For those who administer"
            " every organisation that the person belongs to; for a system_admin only another one does it."
        ),
    ),
    Route(
        "POST",
        "/api/v1/auth/password-reset/redeem",
        "redeem_password_reset",
        "Choose a new password by a token",
        operations.redeem_reset,
        PasswordChanged,
        None,
        tenant="none",
        body=ResetRedeem,
        codes=("gone", "too_many_requests"),
        example={"token": "vl_rt_" + 48 * "0", "new_password": "correct horse battery staple"},
        description="All sessions of the person end. A second factor stays.",
    ),
)
