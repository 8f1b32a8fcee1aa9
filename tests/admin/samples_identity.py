"""Logins, sessions, passwords and second factors."""

from __future__ import annotations

import os
from typing import Any, Mapping

from pyotp import TOTP

from tests.admin.identity import CHEAP, PASSWORD, query
from tests.admin.samples import Sample
from tests.admin.support import NOW
from tests.store.support import new_id, user
from voidllm.auth.sessions import new_token
from voidllm.auth.totp import new_secret
from voidllm.core.errors import StoreUnavailable
from voidllm.store.sessions import Session, create_session

Parts = Mapping[str, str]

NEW, OTHER = "another horse another staple", "a third horse a third staple"
_HASH = CHEAP.hash(PASSWORD)
_LOGIN = "/api/v1/auth/login"


async def _afresh(case: Any) -> None:
    """Forget failed attempts, and give the administrator the password of the samples and no second factor."""
    for sql in ("DELETE FROM login_attempts", "DELETE FROM recovery_codes", "DELETE FROM totp"):
        await case.store.write(query, sql)
    await case.store.write(query, "UPDATE users SET password_hash = ? WHERE id = ?", _HASH, case.admin.id)


async def somebody(case: Any) -> Parts:
    """Somebody with a password; in the path, or whose address is in the body."""
    await _afresh(case)
    made = await case.store.create_user(user(password_hash=_HASH), case.org.id)
    return {"user_id": made.id, "email": made.email}


async def person(case: Any) -> Parts:
    made = await somebody(case)
    return {"user_id": made["user_id"]}


async def with_password(case: Any) -> Parts:
    await _afresh(case)
    return {}


async def a_factor(case: Any, user_id: str, confirmed: int | None) -> str:
    secret = new_secret(os.urandom)
    sealed = case.context.secrets.seal(secret, "totp", "secret", user_id)
    await case.store.write(
        query,
        "INSERT INTO totp (user_id, secret, created_at_ms, confirmed_at_ms) VALUES (?, ?, ?, ?)",
        user_id,
        sealed,
        NOW,
        confirmed,
    )
    return str(TOTP(secret).at(case.world.wall_ms() // 1000))


async def unconfirmed(case: Any) -> Parts:
    await _afresh(case)
    return {"code": await a_factor(case, case.admin.id, None)}


async def confirmed(case: Any) -> Parts:
    await _afresh(case)
    return {"code": await a_factor(case, case.admin.id, NOW)}


async def somebody_with_factor(case: Any) -> Parts:
    made = await person(case)
    await a_factor(case, made["user_id"], NOW)
    return made


async def reset_token(case: Any) -> Parts:
    made = await somebody(case)
    token = f"vl_rt_{os.urandom(24).hex()}"
    await case.store.write(
        query,
        "INSERT INTO password_resets (user_id, hash, created_at_ms, expires_at_ms) VALUES (?, ?, ?, ?)",
        made["user_id"],
        case.digester.digest(b"reset\0" + token.encode()).hex(),
        NOW,
        NOW + 3_600_000,
    )
    return {"token": token}


async def a_session(case: Any) -> Parts:
    token = new_token(os.urandom, case.digester.digest)
    digest = case.digester.digest(token.encode()).hex()
    session = Session(new_id(), digest, case.admin.id, "password", "", "curl", NOW, NOW, NOW + 3_600_000)
    await case.store.change(None, create_session, session, 100)
    case.keys["session"] = token
    return {"session_id": session.id}


async def _program(case: Any, route: Any) -> None:
    if "program" not in case.keys:
        await case.mint("program", case.org, key_type="team_key", team_id=case.team.id)
        await case.publish()
    await case.send(route, who="program")


def _often(body: Mapping[str, Any]) -> Any:
    """Give what fails so often that the next attempt must wait."""

    async def provoke(case: Any, route: Any) -> None:
        parts = await SAMPLES[route.name].make(case)
        for _ in range(6):
            await case.send(route, body=dict(body), parts=parts)

    return provoke


async def _wrong(case: Any, route: Any) -> None:
    await case.send(route, body={"email": "nobody@example.org", "password": "x"}, who="")


async def _without_code(case: Any, route: Any) -> None:
    made = await somebody(case)
    await a_factor(case, made["user_id"], NOW)
    await case.send(route, parts=made, who="")


async def _other_site(case: Any, route: Any) -> None:
    body = {"email": "nobody@example.org", "password": "x", "cookie": True}
    await case.send(route, body=body, who="", origin="http://other.example")


async def _unknown_token(case: Any, route: Any) -> None:
    await case.send(route, body={"token": "vl_rt_" + 48 * "0", "new_password": NEW})


async def _vouched_for(case: Any, route: Any) -> None:
    made = await case.store.create_user(user(auth_provider="oidc"), case.org.id)
    await case.send(route, parts={"user_id": made.id})


async def _no_factor(case: Any, route: Any) -> None:
    await _afresh(case)
    await case.send(route, parts={}, body={"current_password": PASSWORD})


async def _log_out_twice(case: Any, route: Any) -> None:
    with case.instead("idempotency_finish", StoreUnavailable()):
        await a_session(case)
        await case.send(route, who="session", idempotency_key="out")
    await a_session(case)
    await case.send(route, who="session", idempotency_key="out")


async def _log_out_by_a_used_key(case: Any, route: Any) -> None:
    await case.call("POST", "/api/v1/keys", {"name": "x"}, **{"idempotency-key": "used"})
    await a_session(case)
    await case.send(route, who="session", idempotency_key="used")


def _login(parts: Parts) -> Mapping[str, Any]:
    return {"email": parts["email"], "password": PASSWORD}


def _login_with_cookie(parts: Parts) -> Mapping[str, Any]:
    return {**_login(parts), "cookie": True}


def _code(parts: Parts) -> Mapping[str, Any]:
    return {"totp": parts["code"]}


def _wrong_code(parts: Parts) -> Mapping[str, Any]:
    return {"totp": f"{(int(parts['code']) + 1) % 1_000_000:06d}"}


def _redeem(parts: Parts) -> Mapping[str, Any]:
    return {"token": parts["token"], "new_password": NEW}


def _redeem_other(parts: Parts) -> Mapping[str, Any]:
    return {"token": parts["token"], "new_password": OTHER}


_BAD_PASSWORD = {"current_password": "not the password"}

SAMPLES: dict[str, Sample] = {
    "log_in": Sample(
        somebody,
        _login,
        _login_with_cookie,
        provoke={
            "unauthorized": _wrong,
            "totp_required": _without_code,
            "forbidden": _other_site,
            "too_many_requests": _often({"email": "nobody@example.org", "password": "x"}),
        },
    ),
    "log_out": Sample(
        provoke={
            "conflict": lambda case, route: case.send(route),
            "idempotency_key_in_use": _log_out_twice,
            "idempotency_key_reused": _log_out_by_a_used_key,
        }
    ),
    "show_me": Sample(),
    "change_me": Sample(
        body={"display_name": "x"}, other={"display_name": "y"}, provoke={"conflict": _program}
    ),
    "list_available_models": Sample(
        provoke={"not_found": lambda case, route: case.send(route, "?org=nowhere")}
    ),
    "list_my_sessions": Sample(provoke={"conflict": _program}),
    "end_my_other_sessions": Sample(provoke={"conflict": _program}),
    "end_my_session": Sample(a_session, provoke={"conflict": _program}),
    "change_my_password": Sample(
        with_password,
        {"current_password": PASSWORD, "new_password": NEW},
        {"current_password": PASSWORD, "new_password": OTHER},
        provoke={
            "conflict": _program,
            "too_many_requests": _often({**_BAD_PASSWORD, "new_password": NEW}),
        },
    ),
    "issue_password_reset": Sample(person, provoke={"conflict": _vouched_for}),
    "redeem_password_reset": Sample(
        reset_token,
        _redeem,
        _redeem_other,
        provoke={
            "gone": _unknown_token,
            "too_many_requests": _often({"token": "x", "new_password": NEW}),
        },
    ),
    "begin_totp": Sample(
        with_password,
        {"current_password": PASSWORD},
        {"current_password": PASSWORD, "totp": "123456"},
        provoke={"conflict": _program, "too_many_requests": _often(_BAD_PASSWORD)},
    ),
    "confirm_totp": Sample(
        unconfirmed,
        _code,
        _wrong_code,
        provoke={"conflict": _program, "too_many_requests": _often({"totp": "000000"})},
    ),
    "renew_recovery_codes": Sample(
        confirmed,
        {"current_password": PASSWORD},
        {"current_password": PASSWORD, "totp": "123456"},
        provoke={"conflict": _program, "too_many_requests": _often(_BAD_PASSWORD)},
    ),
    "remove_totp": Sample(
        confirmed,
        {"current_password": PASSWORD},
        _code,
        provoke={
            "not_found": _no_factor,
            "conflict": _program,
            "too_many_requests": _often(_BAD_PASSWORD),
        },
    ),
    "reset_totp": Sample(somebody_with_factor),
}
