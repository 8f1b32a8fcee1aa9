"""Routes about second factors."""

from __future__ import annotations

from voidllm.admin import totp_operations as operations
from voidllm.admin.access import WRITE
from voidllm.admin.declare import Route
from voidllm.admin.totp_shapes import Confirm, Prove, RecoveryCodes, Secret
from voidllm.auth.roles import MEMBER, ORG_ADMIN

_MINE = "/api/v1/me/totp"

ROUTES = (
    Route(
        "POST",
        _MINE,
        "begin_totp",
        "Set up a second factor",
        operations.begin,
        Secret,
        MEMBER,
        WRITE,
        tenant="self",
        body=Prove,
        status=201,
        codes=("conflict", "too_many_requests"),
        secrets=("secret", "uri"),
        example={"current_password": "correct horse battery staple"},
        description="It is not asked for before a first code has confirmed it.",
    ),
    Route(
        "POST",
        _MINE + "/confirm",
        "confirm_totp",
        "Have one's second factor asked for from now on",
        operations.confirm,
        RecoveryCodes,
        MEMBER,
        WRITE,
        tenant="self",
        body=Confirm,
        codes=("conflict", "too_many_requests"),
        secrets=("recovery_codes",),
        example={"totp": "123456"},
        description="All other sessions of the caller end.",
    ),
    Route(
        "POST",
        _MINE + "/recovery-codes",
        "renew_recovery_codes",
        "Make new recovery codes in place of the old ones",
        operations.renew_codes,
        RecoveryCodes,
        MEMBER,
        WRITE,
        tenant="self",
        body=Prove,
        codes=("conflict", "too_many_requests"),
        secrets=("recovery_codes",),
        example={"totp": "123456"},
    ),
    Route(
        "DELETE",
        _MINE,
        "remove_totp",
        "Take one's second factor away",
        operations.remove,
        None,
        MEMBER,
        WRITE,
        tenant="self",
        body=Prove,
        status=204,
        codes=("not_found", "conflict", "too_many_requests"),
        example={"current_password": "correct horse battery staple"},
    ),
    Route(
        "DELETE",
        "/api/v1/users/{user_id}/totp",
        "reset_totp",
        "Take away the second factor of somebody who has lost it",
        operations.reset,
        None,
        ORG_ADMIN,
        WRITE,
        status=204,
        description=(
            "For those who administer every organisation that the person belongs to; for a system_admin only"
            " another one does it."
        ),
    ),
)
