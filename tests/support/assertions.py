"""Keys of clients, and assertions made by them: right ones, and any wrong one."""

import base64
import hmac
import json
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm

from sidecar.core.jose.assertions import ASSERTION_TYPE

_SIGNERS = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "PS256": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256),
    "ES384": ECAlgorithm(ECAlgorithm.SHA384),
    "EdDSA": OKPAlgorithm(),
}


class KeyPair(NamedTuple):
    """A client's key. `public` is its PEM, `jwk` the same as a JWK."""

    private: Any
    public: str
    jwk: dict[str, Any]


def _pair(private: Any, reader: Any) -> KeyPair:
    public = private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return KeyPair(private, pem, json.loads(reader.to_jwk(public)))


def rsa_pair(bits: int = 2048) -> KeyPair:
    """A new RSA key."""
    return _pair(rsa.generate_private_key(65537, bits), RSAAlgorithm)


def ec_pair(curve: ec.EllipticCurve | None = None) -> KeyPair:
    """A new key on a curve, P-256 by default."""
    return _pair(ec.generate_private_key(curve or ec.SECP256R1()), ECAlgorithm)


def ed_pair() -> KeyPair:
    """A new Ed25519 key."""
    return _pair(ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm)


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(claims: Any, key: Any, alg: str, **header: Any) -> str:
    """A JWT with any claims (an object, or the bytes of one) and any header; `key` is a private key or a secret."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64(json.dumps({'alg': alg, **header}).encode())}.{b64(payload)}"
    if alg.startswith("HS"):
        signature = hmac.digest(key.encode() if isinstance(key, str) else key, signed.encode(), f"sha{alg[2:]}")
    else:
        signature = _SIGNERS[alg].sign(signed.encode(), key) if alg in _SIGNERS else b"x"
    return f"{signed}.{b64(signature)}"


def parameters(assertion: str, **fields: str) -> dict[str, str]:
    """What a client sends with an assertion."""
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion, **fields}
