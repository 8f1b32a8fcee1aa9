"""What logging in looks like on the way in and on the way out."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.kinds import Asked, Id, Once, Time

#: Any text at all: what is no password of anybody's is simply wrong.
Password = Annotated[str, Meta(min_length=1, max_length=256)]
NewPassword = Annotated[str, Meta(min_length=12, max_length=256)]
Email = Annotated[str, Meta(min_length=1, max_length=254)]
Code = Annotated[str, Meta(min_length=6, max_length=12, description="of an authenticator app")]
RecoveryCode = Annotated[str, Meta(min_length=1, max_length=64, description="works once")]


class Login(Asked):
    """Who logs in."""

    email: Email
    password: Password
    totp: Code | None = None
    recovery_code: Annotated[RecoveryCode, Meta(description="instead of totp; works once")] | None = None
    cookie: Annotated[bool, Meta(description="set the session as a cookie, for a browser")] = False


class LoggedInUser(Struct, kw_only=True, frozen=True):
    """Whose session it is."""

    id: Id
    email: str
    display_name: str
    role: Annotated[str, Meta(description="the highest that the user has anywhere")]
    org_id: Annotated[Id, Meta(description="the user's first organisation")] | None
    is_system_admin: bool
    must_change_password: Annotated[
        bool, Meta(description="until then only /me, /me/password and /auth/logout are open")
    ]


class LoggedIn(Struct, kw_only=True, frozen=True):
    """A session that has begun."""

    token: Annotated[Once, Meta(description="bearer token; shown this once")] | UnsetType = UNSET
    csrf_token: Annotated[Once, Meta(description="for X-CSRF-Token, with the cookie")] | UnsetType = UNSET
    expires_at: Annotated[Time, Meta(description="at the latest; earlier if it is not used")]
    user: LoggedInUser
