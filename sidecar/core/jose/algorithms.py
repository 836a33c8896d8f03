"""The signature algorithms of JWS that the sidecar accepts (RFC 7518 section 3.1, RFC 8037), and the keys that each takes.

Access tokens (`core.jose.keys`) and client assertions (`core.jose.client_keys`) use the same ones. PyJWT implements them over
`cryptography`.
"""

from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
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
