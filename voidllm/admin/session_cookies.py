"""Sessions in a browser: a cookie that its pages cannot read, and a token that only they can send.

``voidllm_session`` holds the session's token: ``HttpOnly``, ``Path=/api``, ``Secure`` if the request
came over TLS, and ``SameSite=Strict``, or ``Lax`` where a redirect from an identity provider must
carry it. ``voidllm_csrf`` holds what ``X-CSRF-Token`` must say; pages read it.

Whoever begins a session calls :func:`new_session`, hands it to
:func:`voidllm.store.sessions.create_session` within ``call.change``, and then calls
:func:`set_cookies`.
"""

from __future__ import annotations

from typing import Any

from voidllm.admin.context import AdminContext
from voidllm.admin.declare import Call, Client
from voidllm.auth import csrf
from voidllm.auth.sessions import agent_family, is_genuine, new_token
from voidllm.core.errors import Refusal
from voidllm.store.sessions import Session

SESSION = "voidllm_session"
CSRF = "voidllm_csrf"
_PATH = "/api"
# Longer than any session of ours; what is longer is somebody else's.
_LONGEST_HEADER = 8192


def new_session(call: Call[Any, Any], user_id: str, way: str) -> tuple[Session, str]:
    """Make a session to be stored, and its token, which is not in it.

    :param way: ``password``, ``sso`` or ``invite``.
    """
    context, now_ms = call.context, call.now_ms
    token = new_token(context.world.random_bytes, context.digester.digest)
    session = Session(
        id=call.new_id(),
        hash=digest_of(context, token),
        user_id=user_id,
        way=way,
        address=call.client.address,
        agent=agent_family(call.client.header("User-Agent") or ""),
        created_at_ms=now_ms,
        seen_at_ms=now_ms,
        expires_at_ms=now_ms + context.sessions.longest_ms,
    )
    return session, token


def digest_of(context: AdminContext, token: str) -> str:
    """Give what a session is found by."""
    return context.digester.digest(token.encode("ascii")).hex()


def csrf_token(context: AdminContext, token: str) -> str:
    """Give what ``X-CSRF-Token`` must say for the session with this token."""
    return csrf.token_of(context.digester.digest, token)


def set_cookies(call: Call[Any, Any], token: str, *, lax: bool = False) -> None:
    """Have the browser keep a session until it ends at the latest.

    :param lax: for a reply that the browser came to from another site.
    """
    age_s = call.context.sessions.longest_ms // 1000
    same_site = "Lax" if lax else "Strict"
    _add(call, SESSION, token, f"Path={_PATH}; HttpOnly; SameSite={same_site}", age_s)
    _add(call, CSRF, csrf_token(call.context, token), f"Path=/; SameSite={same_site}", age_s)


def clear_cookies(call: Call[Any, Any]) -> None:
    """Have the browser forget its session."""
    _add(call, SESSION, "", f"Path={_PATH}; HttpOnly; SameSite=Strict", 0)
    _add(call, CSRF, "", "Path=/; SameSite=Strict", 0)


def _add(call: Call[Any, Any], name: str, value: str, how: str, age_s: int) -> None:
    secure = "; Secure" if call.client.secure else ""
    call.headers.append(("Set-Cookie", f"{name}={value}; {how}; Max-Age={age_s}{secure}"))


def token_in(context: AdminContext, client: Client) -> str | None:
    """Find the token of a session in the cookies of a request; ``None`` if there is none of ours."""
    found = set()
    for one in (client.header("Cookie") or "")[:_LONGEST_HEADER].replace(",", ";").split(";"):
        name, _, value = one.strip().partition("=")
        if name == SESSION:
            found.add(value)
    # Two different ones: a neighbour on the same domain has set one of them.
    token = found.pop() if len(found) == 1 else None
    return token if token is not None and is_genuine(token, context.digester.digest) else None


def require_own_page(client: Client) -> None:
    """Refuse what a page of another site has sent.

    :raises Refusal: 403.
    """
    fits = csrf.same_origin(
        client.header("Origin"), client.header("Sec-Fetch-Site"), client.header("Host") or "", client.secure
    )
    if not fits:
        raise Refusal(403, "forbidden", "this request was sent by a page of another site")


def require_csrf_token(context: AdminContext, client: Client, token: str) -> None:
    """Refuse a request with a cookie that none of our own pages has sent.

    :raises Refusal: 403.
    """
    require_own_page(client)
    if not csrf.fits(context.digester.digest, token, client.header(csrf.HEADER)):
        raise Refusal(
            403, "forbidden", f"a session in a cookie needs the header {csrf.HEADER} of that session"
        )
