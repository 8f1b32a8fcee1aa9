"""``/api/v1/credentials``: provider secrets with a name, shared by deployments."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from attrs import evolve
from msgspec import UNSET, Meta, Struct, UnsetType

from voidllm.admin.access import READ, WRITE, missing
from voidllm.admin.declare import Call, Route, changed
from voidllm.admin.kinds import Asked, Count, Id, Listing, Nothing, Page, Text, Time
from voidllm.admin.model_rules import given
from voidllm.admin.model_shapes import ApiKey, Provider
from voidllm.admin.moments import moment
from voidllm.admin.names import unique
from voidllm.admin.paging import envelope, page_of
from voidllm.auth.roles import SYSTEM_ADMIN
from voidllm.core.errors import Refusal, StoreConflict
from voidllm.store import credentials
from voidllm.store.credentials import CredentialFilter
from voidllm.store.model_records import StoredCredential

_ATTEMPTS = 5


class Credential(Struct, kw_only=True, frozen=True):
    """A provider's secret, without the secret."""

    id: Id
    name: str
    provider: str
    has_key: bool = True
    used_by: Annotated[Count, Meta(description="how many deployments have it")]
    created_at: Time
    updated_at: Time


class CredentialList(Listing):
    """Which credentials."""

    sort: Literal["created_at", "-created_at", "name", "-name"] = "created_at"
    q: Annotated[Text, Meta(description="is in the name")] | None = None
    provider: Provider | None = None


class NewCredential(Asked):
    """A credential to be kept."""

    name: Text
    provider: Provider
    api_key: ApiKey


class CredentialPatch(Asked):
    """What is to change; a new secret counts at once for every deployment that has it."""

    name: Text | UnsetType = UNSET
    api_key: ApiKey | UnsetType = UNSET


def _view(one: StoredCredential) -> Credential:
    return Credential(
        id=one.id,
        name=one.name,
        provider=one.provider,
        used_by=one.used_by,
        created_at=moment(one.created_at_ms),
        updated_at=moment(one.updated_at_ms),
    )


async def _find(call: Call[Any, Any]) -> StoredCredential:
    found = await call.read(credentials.get_credential, call.path["credential_id"])
    if found is None:
        raise missing()
    return found


def _sealed(call: Call[Any, Any], api_key: str, credential_id: str) -> str:
    return call.context.secrets.seal(api_key, "credentials", "api_key", credential_id)


async def list_credentials(call: Call[CredentialList, Nothing]) -> Page[Credential]:
    """Give one page of credentials.

    :raises Refusal: 400.
    """
    query = call.query
    page = page_of(query, query.sort)
    rows = await call.read(credentials.list_credentials, CredentialFilter(query.q, query.provider), page)
    return envelope(
        query, query.sort, rows, _view, lambda one: (one.name if page.sort == "name" else "", one.id)
    )


async def create_credential(call: Call[Nothing, NewCredential]) -> Credential:
    """Keep a credential.

    :raises Refusal: 400, or 409 if the name is taken.
    """
    ask = call.body
    given(ask)
    new_id, now_ms = call.new_id(), call.now_ms
    sealed = _sealed(call, ask.api_key, new_id)
    new = StoredCredential(new_id, ask.name, ask.provider, sealed, now_ms, now_ms)
    with unique("name"):
        made = await call.change(credentials.create_credential, new)
    assert made is not None
    return _view(made)


async def get_credential(call: Call[Nothing, Nothing]) -> Credential:
    """Show a credential.

    :raises Refusal: 404.
    """
    return _view(await _find(call))


async def change_credential(call: Call[Nothing, CredentialPatch]) -> Credential:
    """Change a credential, and with it all its deployments.

    :raises Refusal: 400, 404, 409 if the name is taken, or 412.
    """
    patch = call.body
    for _ in range(_ATTEMPTS):
        old = await _find(call)
        call.demand(_view(old))
        new = evolve(old, updated_at_ms=call.now_ms)
        if patch.name is not UNSET:
            new = evolve(new, name=patch.name)
        if patch.api_key is not UNSET:
            new = evolve(new, api_key=_sealed(call, patch.api_key, old.id))
        with unique("name"):
            made = await call.change(credentials.change_credential, old, new)
        if made is not None:
            return _view(made)
    raise changed()


async def delete_credential(call: Call[Nothing, Nothing]) -> None:
    """Delete a credential that no deployment has.

    :raises Refusal: 404, 409 if it is used, or 412.
    """
    for _ in range(_ATTEMPTS):
        old = await _find(call)
        call.demand(_view(old))
        try:
            if await call.change(credentials.delete_credential, old) is not None:
                return
        except StoreConflict:
            raise Refusal(
                409, "conflict", "deployments use this credential; take it from them first"
            ) from None
    raise changed()


_ALL = "/api/v1/credentials"
_ONE = "/api/v1/credentials/{credential_id}"

ROUTES = (
    Route(
        "GET",
        _ALL,
        "list_credentials",
        "List shared provider secrets",
        list_credentials,
        Page[Credential],
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        query=CredentialList,
    ),
    Route(
        "POST",
        _ALL,
        "create_credential",
        "Keep a provider secret",
        create_credential,
        Credential,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=NewCredential,
        status=201,
        codes=("conflict",),
        tagged=True,
        example={"name": "openai, team budget", "provider": "openai", "api_key": "sk-example"},
        description="It is kept encrypted and never shown again.",
    ),
    Route(
        "GET",
        _ONE,
        "get_credential",
        "Show a shared provider secret, not the secret itself",
        get_credential,
        Credential,
        SYSTEM_ADMIN,
        READ,
        tenant="installation",
        tagged=True,
    ),
    Route(
        "PATCH",
        _ONE,
        "change_credential",
        "Change a provider secret, or what it is called",
        change_credential,
        Credential,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        body=CredentialPatch,
        codes=("conflict",),
        tagged=True,
        guarded=True,
        example={"api_key": "sk-example-2"},
        description="A JSON merge patch (RFC 7396). All its deployments send the new secret at once.",
    ),
    Route(
        "DELETE",
        _ONE,
        "delete_credential",
        "Delete a provider secret that no deployment has",
        delete_credential,
        None,
        SYSTEM_ADMIN,
        WRITE,
        tenant="installation",
        status=204,
        codes=("conflict",),
        guarded=True,
    ),
)
