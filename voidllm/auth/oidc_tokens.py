"""Whether an ID token is what the identity provider made for this sign-on (OpenID Connect Core 3.1.3.7)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any, Mapping, Sequence

from attrs import field, frozen

from voidllm.auth.oidc import SignOnRefused

#: Signatures by public keys only: with a shared secret, whoever has a public key could sign.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)

#: How far the provider's clock may be off.
LEEWAY_S = 60
#: Longer than any that is honest.
MAX_TOKEN = 32_768
_MAX_KEYS = 64
_MOST_BYTES = 2048
_MOST_RSA_BITS = 8192
_LEAST_RSA_BITS = 2048


class UnknownKey(SignOnRefused):
    """No key that is known made the token; the provider may have a new one."""

    def __init__(self) -> None:
        super().__init__("exchange_failed", "the ID token's key is not known")


@frozen
class Expected:
    """What an ID token must say.

    :ivar now_s: Unix time.
    """

    issuer: str
    client_id: str
    nonce: str = field(repr=False)
    now_s: int


def check_id_token(token: str, keys: Sequence[Mapping[str, Any]], expected: Expected) -> dict[str, Any]:
    """Give the claims of an ID token that is valid.

    :param keys: the provider's JSON Web Keys (RFC 7517).
    :raises UnknownKey: if none of them is the one that the token names.
    :raises SignOnRefused: ``exchange_failed`` for whatever else is wrong with it.
    """
    from joserfc import jwt
    from joserfc.errors import JoseError

    header = _header(token)
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise _invalid("its algorithm is not allowed")
    if "crit" in header:
        raise _invalid("it has extensions that are not known")
    key = _key(keys, header.get("kid"), str(algorithm))
    try:
        claims = jwt.decode(token, key, algorithms=[str(algorithm)]).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        # Without the cause: it may carry the token.
        raise _invalid("its signature or form is wrong") from None
    _check_claims(claims, expected)
    return claims


def _check_claims(claims: dict[str, Any], expected: Expected) -> None:
    from joserfc.errors import JoseError
    from joserfc.jwt import JWTClaimsRegistry

    registry = JWTClaimsRegistry(
        now=expected.now_s,
        leeway=LEEWAY_S,
        iss={"essential": True, "value": expected.issuer},
        sub={"essential": True},
        aud={"essential": True, "value": expected.client_id},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True, "value": expected.nonce},
    )
    try:
        registry.validate(claims)
    except JoseError as error:
        raise _invalid(f"a claim is missing or wrong ({type(error).__name__})") from None
    if not isinstance(claims["nonce"], str):
        raise _invalid("its nonce is wrong")
    azp = claims.get("azp")
    if azp is None and isinstance(claims["aud"], list) and len(claims["aud"]) > 1:
        raise _invalid("it is for several parties and does not say for which")
    if azp is not None and azp != expected.client_id:
        raise _invalid("it was made for another party")


def _header(token: str) -> dict[str, Any]:
    if len(token) > MAX_TOKEN or token.count(".") != 2:
        raise _invalid("it is no signed token")
    first = token.partition(".")[0]
    try:
        header = json.loads(urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, RecursionError):
        raise _invalid("it is no signed token") from None
    if not isinstance(header, dict):
        raise _invalid("it is no signed token")
    return header


def _key(keys: Sequence[Mapping[str, Any]], kid: Any, algorithm: str) -> Any:
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    kind = {"R": "RSA", "P": "RSA", "E": "EC"}[algorithm[0]] if algorithm[:2] != "Ed" else "OKP"
    fitting = [
        key
        for key in keys[:_MAX_KEYS]
        if key.get("kty") == kind
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]
    # Without a name only one can be meant (OpenID Connect Core 10.1).
    if len(fitting) != 1:
        raise UnknownKey
    public = {name: value for name, value in fitting[0].items() if name in ("kty", "n", "e", "crv", "x", "y")}
    if any(not isinstance(value, str) or len(value) > _MOST_BYTES for value in public.values()):
        raise _invalid("its key is no key")
    try:
        key = JWKRegistry.import_key(public)
    except (JoseError, ValueError, TypeError):
        raise _invalid("its key is no key") from None
    if kind == "RSA" and not _LEAST_RSA_BITS <= key.public_key.key_size <= _MOST_RSA_BITS:  # type: ignore[union-attr]
        raise _invalid("its key is too short or too long")
    return key


def _invalid(what: str) -> SignOnRefused:
    return SignOnRefused("exchange_failed", f"the ID token is refused: {what}")
