"""ID tokens: what is believed, and what is not."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from twisted.trial.unittest import SynchronousTestCase

from voidllm.auth.oidc import SignOnRefused
from voidllm.auth.oidc_tokens import LEEWAY_S, Expected, UnknownKey, check_id_token

NOW_S = 1_800_000_000
EXPECTED = Expected("https://idp.example.org", "us", "once", NOW_S)


@cache
def rsa() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "r", "use": "sig", "alg": "RS256"})


def public(key: Any, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


def claims(**changes: Any) -> dict[str, Any]:
    values = {
        "iss": EXPECTED.issuer,
        "aud": "us",
        "sub": "ann",
        "exp": NOW_S + 300,
        "iat": NOW_S - 1,
        "nonce": "once",
    }
    found = {**values, **changes}
    return {name: value for name, value in found.items() if value is not None}


def sign(what: dict[str, Any], key: Any = None, alg: str = "RS256", **header: Any) -> str:
    key = rsa() if key is None else key
    return jwt.encode({"alg": alg, "kid": "r", **header}, what, key, algorithms=[alg])


class TokenTests(SynchronousTestCase):
    """One token at a time, with the provider's one key."""

    def check(self, token: str, keys: Any = None) -> dict[str, Any]:
        return check_id_token(token, [public(rsa())] if keys is None else keys, EXPECTED)

    def refused(self, token: str, keys: Any = None) -> SignOnRefused:
        error: SignOnRefused = self.assertRaises(SignOnRefused, self.check, token, keys)
        self.assertEqual(error.reason, "exchange_failed")
        return error

    def test_good(self) -> None:
        """A token with all that is expected is believed."""
        self.assertEqual(self.check(sign(claims()))["sub"], "ann")

    def test_audiences(self) -> None:
        """Several audiences are right only if the token says that it was made for us."""
        self.check(sign(claims(aud=["us", "them"], azp="us")))
        self.refused(sign(claims(aud=["us", "them"])))
        self.refused(sign(claims(aud=["us", "them"], azp="them")))
        self.refused(sign(claims(azp="them")))
        self.refused(sign(claims(aud="them")))
        self.refused(sign(claims(aud=[])))

    def test_claims(self) -> None:
        """Each claim that is missing, of another type or wrong is reason enough."""
        for change in (
            {"iss": "https://idp.example.org/"},
            {"iss": None},
            {"iss": ["https://idp.example.org"]},
            {"aud": None},
            {"sub": None},
            {"nonce": None},
            {"nonce": "twice"},
            {"nonce": ["once"]},
            {"exp": None},
            {"exp": str(NOW_S + 300)},
            {"exp": NOW_S - LEEWAY_S},
            {"iat": None},
            {"iat": NOW_S + LEEWAY_S + 1},
            {"nbf": NOW_S + LEEWAY_S + 1},
        ):
            self.refused(sign(claims(**change)))

    def test_clocks(self) -> None:
        """Clocks that differ by less than the leeway do no harm."""
        self.check(sign(claims(exp=NOW_S - LEEWAY_S + 1)))
        self.check(sign(claims(iat=NOW_S + LEEWAY_S, nbf=NOW_S + LEEWAY_S)))

    def test_unsigned(self) -> None:
        """A token without a signature is none."""
        parts = [json.dumps(one).encode() for one in ({"alg": "none"}, claims())]
        body = ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        self.refused(body + ".")

    def test_public_key_as_a_secret(self) -> None:
        """Whoever signs with the public key as a shared secret is not believed."""
        parts = [json.dumps(one).encode() for one in ({"alg": "HS256", "kid": "r"}, claims())]
        body = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        made = hmac.digest(rsa().as_pem(private=False), body, "sha256")
        self.refused(b".".join((body, urlsafe_b64encode(made).rstrip(b"="))).decode())
        self.refused(sign(claims(), OctKey.import_key("x" * 64), "HS256"), [{"kty": "oct", "k": "eHh4"}])

    def test_another_signature(self) -> None:
        """A key of the same name that is another one does not fit, nor does a token that was altered."""
        self.refused(sign(claims(), RSAKey.generate_key(2048)))
        head, body, signature = sign(claims()).split(".")
        other = sign(claims(sub="eve")).split(".")[1]
        self.refused(f"{head}.{other}.{signature}")
        self.refused(f"{head}.{body}.{signature[:-4]}AAAA")

    def test_which_key(self) -> None:
        """The key is the one that is named; an unnamed one only if there is no other."""
        self.assertIsInstance(self.refused(sign(claims(), kid="new")), UnknownKey)
        self.assertIsInstance(self.refused(sign(claims()), []), UnknownKey)
        nameless = jwt.encode({"alg": "RS256"}, claims(), rsa())
        self.check(nameless)
        second = public(RSAKey.generate_key(2048, {"kid": "s"}))
        self.assertIsInstance(self.refused(nameless, [public(rsa()), second]), UnknownKey)
        self.check(sign(claims()), [second, public(rsa())])

    def test_unusable_keys(self) -> None:
        """Keys for something else, of another algorithm, too short or damaged do not count."""
        for change in ({"use": "enc"}, {"alg": "RS512"}, {"n": "AQAB"}, {"n": 7}, {"e": "!"}):
            self.refused(sign(claims()), [public(rsa(), **change)])
        short = RSAKey.generate_key(1024, {"kid": "r"})
        self.refused(sign(claims(), short), [public(short)])

    def test_algorithms(self) -> None:
        """Other algorithms with public keys are known as well."""
        for key, alg in (
            (ECKey.generate_key("P-256", {"kid": "r"}), "ES256"),
            (OKPKey.generate_key("Ed25519", {"kid": "r"}), "EdDSA"),
            (RSAKey.generate_key(2048, {"kid": "r"}), "PS256"),
        ):
            self.check(sign(claims(), key, alg), [public(key)])

    def test_garbage(self) -> None:
        """What is no token is refused, whatever it is."""
        for text in ("", "a.b", "a.b.c", "..", "é.b.c", "eyJ9.e30.x", "[].e30.x", "x" * 40_000, "W10.e30.x"):
            self.refused(text)

    def test_extensions(self) -> None:
        """A token that demands what is not known here is refused."""
        head = {"alg": "RS256", "kid": "r", "crit": ["exp"], "exp": 1}
        first = urlsafe_b64encode(json.dumps(head).encode()).decode().rstrip("=")
        self.refused(".".join((first, *sign(claims()).split(".")[1:])))
