"""The signature algorithms of JWS that the sidecar accepts (RFC 7518 section 3.1, RFC 8037), and the keys that each takes.

Access tokens (`core.jose.keys`) and client assertions (`core.jose.client_keys`) use the same ones. PyJWT implements them over
`cryptography`. For each signature it sets up the HMAC of the key, or the description of the algorithm, anew; `signer` does
that once per key, for the keys that sign every token.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hmac import HMAC
from jwt.algorithms import Algorithm, ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm

SymmetricAlg = Literal["HS256", "HS384", "HS512"]
AsymmetricAlg = Literal["RS256", "PS256", "ES256", "ES384", "EdDSA"]
Alg = Literal[SymmetricAlg, AsymmetricAlg]
"""The values of `alg`."""

SYMMETRIC: Final[dict[str, HMACAlgorithm]] = {
    "HS256": HMACAlgorithm(HMACAlgorithm.SHA256),
    "HS384": HMACAlgorithm(HMACAlgorithm.SHA384),
    "HS512": HMACAlgorithm(HMACAlgorithm.SHA512),
}
ASYMMETRIC: Final[dict[str, Algorithm]] = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "PS256": RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256, ec.SECP256R1),
    "ES384": ECAlgorithm(ECAlgorithm.SHA384, ec.SECP384R1),
    "EdDSA": OKPAlgorithm(),
}
ALGORITHMS: Final[dict[str, Algorithm]] = {**SYMMETRIC, **ASYMMETRIC}
SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The least size of a secret: the size of the hash (RFC 7518 section 3.2)."""
LEAST_SECRET_BYTES: Final = min(SECRET_BYTES.values())
LEAST_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""
_HMACS: Final[dict[str, hashes.HashAlgorithm]] = {
    "HS256": hashes.SHA256(),
    "HS384": hashes.SHA384(),
    "HS512": hashes.SHA512(),
}
_ECDSAS: Final = {"ES256": (ec.ECDSA(hashes.SHA256()), 32), "ES384": (ec.ECDSA(hashes.SHA384()), 48)}
"""The algorithm, and the bytes of each of the two numbers of its signature (RFC 7518 section 3.4)."""


def signer(alg: str, key: Any) -> Callable[[bytes], bytes]:
    """A function that gives the signature of some data with `alg`. `key` is what PyJWT's algorithm takes to sign."""
    if alg in _HMACS:
        return keyed_hmac(key, _HMACS[alg])
    if alg in _ECDSAS:
        return _ecdsa(key, *_ECDSAS[alg])
    algorithm = ALGORITHMS[alg]
    return lambda data: algorithm.sign(data, key)


def keyed_hmac(key: bytes, algorithm: hashes.HashAlgorithm) -> Callable[[bytes], bytes]:
    """A function that gives the HMAC of some data (RFC 2104). The key is hashed once, and the state after that is copied."""
    keyed = HMAC(key, algorithm)

    def digest(data: bytes) -> bytes:
        mac = keyed.copy()
        mac.update(data)
        return mac.finalize()

    return digest


def _ecdsa(key: ec.EllipticCurvePrivateKey, algorithm: ec.ECDSA, size: int) -> Callable[[bytes], bytes]:
    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, algorithm))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def algorithms_of(key: object) -> tuple[AsymmetricAlg, ...]:
    """The algorithms whose signatures a public key can verify: none for a key of another kind or on another curve."""
    match key:
        case rsa.RSAPublicKey():
            return ("RS256", "PS256")
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return ("ES256",)
        case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
            return ("ES384",)
        case ed25519.Ed25519PublicKey():
            return ("EdDSA",)
    return ()
