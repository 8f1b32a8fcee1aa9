"""What requests say of where a deployment runs, its secret among it."""

from __future__ import annotations

from typing import Any, Mapping

from attrs import evolve

from voidllm.admin.declare import Call
from voidllm.admin.fields import bad
from voidllm.store import credentials
from voidllm.store.model_records import StoredCredential, StoredDeployment


async def credential_of(call: Call[Any, Any], found: Mapping[str, Any]) -> StoredCredential | None:
    """Find the shared credential that a request names, if it names one.

    :raises Refusal: 400 if there is no such credential.
    """
    ref = found.get("credential_id")
    if ref is None:
        return None
    credential = await call.read(credentials.get_credential, ref)
    if credential is None:
        raise bad("credential_id is the id or name of no credential", "credential_id")
    return credential


def placed(
    call: Call[Any, Any], old: StoredDeployment, found: Mapping[str, Any], credential: StoredCredential | None
) -> StoredDeployment:
    """Give a deployment with what a request says of it.

    :param credential: what :func:`credential_of` found.
    :raises Refusal: 400 for a credential of another provider.
    """
    plain = ("name", "provider", "weight", "priority", "is_active")
    changes: dict[str, Any] = {name: found[name] for name in plain if name in found}
    changes |= {name: found[name] or "" for name in ("base_url", "upstream_model") if name in found}
    made = evolve(old, updated_at_ms=call.now_ms, **changes)
    if found.get("api_key") is not None:
        sealed = call.context.secrets.seal(found["api_key"], "deployments", "api_key", made.id)
        made = evolve(made, api_key=sealed, credential_id=None)
    elif "api_key" in found:
        made = evolve(made, api_key=None)
    if credential is not None:
        if credential.provider != made.provider:
            raise bad("the credential is for another provider", "credential_id")
        made = evolve(made, credential_id=credential.id, api_key=None)
    elif "credential_id" in found:
        made = evolve(made, credential_id=None)
    return made


def secret_of(call: Call[Any, Any], one: StoredDeployment, credential: StoredCredential | None) -> str:
    """Open the key that is sent to a deployment; empty for none.

    :raises StateError: if its encryption key is not known.
    """
    secrets = call.context.secrets
    if credential is not None:
        return secrets.open(credential.api_key, "credentials", "api_key", credential.id)
    return "" if one.api_key is None else secrets.open(one.api_key, "deployments", "api_key", one.id)
