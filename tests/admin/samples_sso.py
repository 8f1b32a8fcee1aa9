"""Identity providers, signing on, and invitations."""

from __future__ import annotations

import itertools
from typing import Any, Mapping

from tests.admin.identity import CHEAP, PASSWORD, query
from tests.admin.samples import Sample, own_org
from tests.admin.samples_identity import a_factor
from tests.admin.support import NOW
from tests.store.support import new_id, user
from voidllm.store import sso
from voidllm.store.sso import OrgSSO

Parts = Mapping[str, str]

ISSUER = "https://127.0.0.1:9"
TOKEN = "vl_iv_" + 48 * "1"
_numbers = itertools.count(1)

SSO = {
    "issuer": ISSUER,
    "client_id": "voidllm",
    "client_secret": "secret",
    "redirect_url": "https://us.example.org/api/v1/auth/oidc/callback",
    "allowed_domains": ["sso.example.org"],
}


async def _put_sso(case: Any, where: Any, domain: str) -> None:
    """Put a provider into the store, whoever may not do so over HTTP just now."""
    sealed = case.context.secrets.seal("secret", sso.TABLE, sso.COLUMN, where.id)
    new = OrgSSO(
        org_id=where.id,
        enabled=True,
        issuer=ISSUER,
        client_id="voidllm",
        client_secret=sealed,
        redirect_url=str(SSO["redirect_url"]),
        scopes=("openid",),
        allowed_domains=(domain,),
        auto_provision=False,
        default_role="member",
        group_sync=False,
        group_claim="groups",
        group_rules=(),
        created_at_ms=NOW,
        updated_at_ms=NOW,
    )
    await case.store.change(None, sso.put_sso, where.id, lambda old: new)


async def with_sso(case: Any) -> Parts:
    """An organisation with a provider."""
    await _put_sso(case, case.org, "sso.example.org")
    return {"org_id": case.org.id}


async def _domain_of_others(case: Any, route: Any) -> None:
    await _put_sso(case, case.other, "taken.example.org")
    await case.send(route, body={**SSO, "allowed_domains": ["taken.example.org"]})


async def _invite(case: Any, where: Any, email: str) -> str:
    """Put an invitation with the token of the samples into the store."""
    await case.store.write(query, "DELETE FROM login_attempts")
    digest = case.digester.digest(TOKEN.encode()).hex()
    await case.store.write(query, "DELETE FROM invites WHERE hash = ?", digest)
    made = new_id()
    await case.store.write(
        query,
        "INSERT INTO invites (id, org_id, email, role, hash, hint, created_at_ms, expires_at_ms)"
        " VALUES (?, ?, ?, 'member', ?, 'vl_iv_...1111', ?, ?)",
        made,
        where.id,
        email,
        digest,
        NOW,
        NOW + 3_600_000,
    )
    return made


async def invite(case: Any) -> Parts:
    """An invitation of somebody new."""
    made = await _invite(case, case.org, f"new{next(_numbers)}@example.org")
    return {"org_id": case.org.id, "invite_id": made}


async def invite_for_all(case: Any) -> Parts:
    """An invitation that is found by its token alone."""
    await invite(case)
    return {}


async def invite_of_admin(case: Any) -> Parts:
    """An invitation of the administrator into the other organisation."""
    await case.store.write(
        query, "DELETE FROM org_memberships WHERE org_id = ? AND user_id = ?", case.other.id, case.admin.id
    )
    await _invite(case, case.other, case.admin.email.lower())
    return {}


async def _account(case: Any, where: Any) -> str:
    made = await case.store.create_user(
        user(email=f"known{next(_numbers)}@example.org", password_hash=CHEAP.hash(PASSWORD)), case.org.id
    )
    await _invite(case, where, made.email)
    return str(made.id)


async def _wrong_password(case: Any, route: Any) -> None:
    await _account(case, case.other)
    await case.send(route, body={**_REDEEM, "password": "another password"}, parts={}, who="")


async def _with_factor(case: Any, route: Any) -> None:
    await a_factor(case, await _account(case, case.other), NOW)
    await case.send(route, body=_REDEEM, parts={}, who="")


async def _member_already(case: Any, route: Any) -> None:
    await _account(case, case.org)
    await case.send(route, body=_REDEEM, parts={}, who="")


async def _member_of_this(case: Any, route: Any) -> None:
    await invite_of_admin(case)
    await case.send(route, parts={})
    await _invite(case, case.other, case.admin.email.lower())
    await case.send(route, parts={})


async def _invite_member(case: Any, route: Any) -> None:
    made = await case.store.create_user(user(), case.org.id)
    await case.send(route, body={"email": made.email})


def _unknown(body: Mapping[str, Any] | None, times: int = 1) -> Any:
    """Follow an invitation that never was, so and so often."""

    async def provoke(case: Any, route: Any) -> None:
        await case.store.write(query, "DELETE FROM login_attempts")
        for _ in range(times):
            await case.send(
                route,
                "" if body is not None else "?token=x",
                body=None if body is None else dict(body),
                parts={},
            )

    return provoke


async def _given_twice(case: Any, route: Any) -> None:
    await case.send(route, "?code=a&code=b")


_REDEEM = {"token": TOKEN, "password": PASSWORD, "display_name": "Somebody"}

SAMPLES: dict[str, Sample] = {
    "list_login_providers": Sample(query="?org=other"),
    "begin_sign_on": Sample(
        query="?org=other",
        provoke={"not_found": lambda case, route: case.send(route, "?org=nowhere")},
    ),
    "end_sign_on": Sample(provoke={"bad_request": _given_twice}),
    "get_org_sso": Sample(with_sso),
    "put_org_sso": Sample(
        with_sso,
        SSO,
        {**SSO, "auto_provision": True},
        provoke={"conflict": _domain_of_others},
    ),
    "delete_org_sso": Sample(with_sso),
    "test_org_sso": Sample(own_org, {"issuer": ISSUER}, {"issuer": ISSUER + "/"}),
    "show_sso": Sample(),
    "list_invites": Sample(own_org),
    "create_invite": Sample(
        own_org,
        {"email": "invited@example.org"},
        {"email": "invited@example.org", "role": "org_admin"},
        provoke={"conflict": _invite_member},
    ),
    "revoke_invite": Sample(invite),
    "peek_invite": Sample(
        invite_for_all,
        query=f"?token={TOKEN}",
        provoke={"gone": _unknown(None), "too_many_requests": _unknown(None, 8)},
    ),
    "redeem_invite": Sample(
        invite_for_all,
        _REDEEM,
        {**_REDEEM, "display_name": "Somebody else"},
        provoke={
            "unauthorized": _wrong_password,
            "totp_required": _with_factor,
            "conflict": _member_already,
            "gone": _unknown({**_REDEEM, "token": "x"}),
            "too_many_requests": _unknown({**_REDEEM, "token": "x"}, 8),
        },
    ),
    "accept_invite": Sample(
        invite_of_admin,
        {"token": TOKEN},
        {"token": "x"},
        provoke={
            "conflict": _member_of_this,
            "gone": _unknown({"token": "x"}),
            "too_many_requests": _unknown({"token": "x"}, 8),
        },
    ),
}
