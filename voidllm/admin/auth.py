"""``/api/v1/auth``: logging in with a password, and out."""

from __future__ import annotations

from voidllm.admin.access import WRITE
from voidllm.admin.auth_shapes import LoggedIn, Login
from voidllm.admin.declare import Call, Route
from voidllm.admin.kinds import Nothing
from voidllm.admin.login import log_in
from voidllm.admin.session_cookies import clear_cookies
from voidllm.auth.roles import MEMBER
from voidllm.core.errors import Refusal
from voidllm.store import sessions


async def log_out(call: Call[Nothing, Nothing]) -> None:
    """End the session that the request came with.

    :raises Refusal: 409 for a request that came with something else.
    """
    actor = call.actor
    if actor.session_id is None or actor.user_id is None:
        raise Refusal(409, "conflict", "there is no session to end: this request came with an API key")
    await call.change(sessions.end_session, actor.user_id, actor.session_id, "logout")
    clear_cookies(call)


ROUTES = (
    Route(
        "POST",
        "/api/v1/auth/login",
        "log_in",
        "Log in with a password",
        log_in,
        LoggedIn,
        None,
        tenant="none",
        body=Login,
        codes=("unauthorized", "totp_required", "forbidden", "too_many_requests"),
        secrets=("token", "csrf_token"),
        example={"email": "ada@example.org", "password": "correct horse battery staple"},
        description=(
            "The token goes into `Authorization: Bearer`. With `cookie` the session is also set as the cookie"
            " `voidllm_session`; requests that come with it and change something need `csrf_token`, which is"
            " also in the cookie `voidllm_csrf`, as `X-CSRF-Token`. After failed attempts others must wait,"
            " longer each time; nobody is locked out by others."
        ),
    ),
    Route(
        "POST",
        "/api/v1/auth/logout",
        "log_out",
        "End the session that this request comes with",
        log_out,
        None,
        MEMBER,
        WRITE,
        tenant="self",
        status=204,
        codes=("conflict",),
        unready=True,
    ),
)
