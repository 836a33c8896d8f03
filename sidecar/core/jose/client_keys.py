"""The keys with which a client signs its assertions (RFC 7523): public keys as PEM or JWK, or its secret for an HMAC.

Each key is bound to the algorithms that it is for, so that an assertion cannot choose how it is verified (RFC 8725 section
3.1): a public key is never used as a secret for HS256, and a key for RS256 never for ES256.

Verifying a signature takes, in µs on one core of an EPYC: HS256 2, RS256 and PS256 16 (2048 bits) to 51 (4096), ES256 46,
EdDSA 63, ES384 355. Handing it to a thread and back would add 36 µs of CPU time and 66 µs of latency, as much as most
algorithms take. Signatures are therefore verified on the event loop. A scrypt hash, at 50,000 µs, is not
(`oauth.clients.authentication`).
"""

from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from sidecar.core.jose.algorithms import (
    ALGORITHMS,
    LEAST_RSA_BITS,
    LEAST_SECRET_BYTES,
    SECRET_BYTES,
    SYMMETRIC,
    algorithms_of,
)

_RSA_BITS: Final = (LEAST_RSA_BITS, 8192)
_JWK_READERS: Final = {"RSA": RSAAlgorithm.from_jwk, "EC": ECAlgorithm.from_jwk, "OKP": OKPAlgorithm.from_jwk}
_PRIVATE: Final = frozenset(["d", "p", "q", "dp", "dq", "qi", "oth", "k"])  # RFC 7518 section 6


class InvalidClientKey(ValueError):
    """A text or a JWK cannot be used as a client's key. The message says why and never shows the key."""


class ClientKey:
    """A key of a client: its `kid`, if it has one, and the algorithms that it is for."""

    __slots__ = ("_key", "algs", "kid")

    def __init__(self, key: Any, algs: tuple[str, ...], kid: str | None = None) -> None:
        self._key = key
        self.algs = algs
        self.kid = kid

    def __repr__(self) -> str:
        return f"<ClientKey {self.kid or '-'} {' '.join(self.algs)}>"

    @property
    def cost(self) -> int:
        """The size of an RSA key in bits, else 0. It orders the keys of one algorithm by how long a verification takes."""
        return self._key.key_size if isinstance(self._key, RSAPublicKey) else 0

    def verify(self, alg: str, data: bytes, signature: bytes) -> bool:
        """Whether this key made `signature` over `data` with `alg`; false when `alg` is not one of `algs`."""
        return alg in self.algs and ALGORITHMS[alg].verify(data, self._key, signature)


def read_pem(text: str) -> ClientKey:
    """Read a public key as PEM (`-----BEGIN PUBLIC KEY-----`). Raises `InvalidClientKey`."""
    if "PRIVATE KEY" in text:
        raise InvalidClientKey("holds a private key, which nobody but the client should have: give the public one")
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidClientKey("is no public key in PEM; make one with: openssl pkey -in KEY -pubout") from None
    return ClientKey(key, _algorithms_of(key))


def read_jwk(jwk: Mapping[str, Any]) -> ClientKey:
    """Read a public key as a JWK (RFC 7517). Raises `InvalidClientKey`."""
    if jwk.keys() & _PRIVATE:
        raise InvalidClientKey("holds a private key, which nobody but the client should have: give the public part")
    read = _JWK_READERS.get(jwk.get("kty", "") if isinstance(jwk.get("kty"), str) else "")
    if read is None:
        raise InvalidClientKey("kty must be RSA, EC or OKP")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise InvalidClientKey("is not for signatures: use must be sig, and key_ops hold verify")
    kid = jwk.get("kid")
    if kid is not None and (not isinstance(kid, str) or not kid):
        raise InvalidClientKey("kid must be a string; put quotes around a number or a date")
    try:
        key = read(dict(jwk))
    except (InvalidKeyError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        raise InvalidClientKey("cannot be read as a JWK: see RFC 7518 section 6 for the members of each kty") from None
    algs = _algorithms_of(key)
    alg = jwk.get("alg")
    if alg is None:
        return ClientKey(key, algs, kid)
    if alg not in algs:
        raise InvalidClientKey(f"alg must be {' or '.join(algs)} for a key of this kind")
    return ClientKey(key, (alg,), kid)


def from_secret(secret: str) -> ClientKey:
    """The key of `client_secret_jwt`: the client's secret in UTF-8. Raises `InvalidClientKey`."""
    key = secret.encode()
    algs = tuple(alg for alg, least in SECRET_BYTES.items() if len(key) >= least)
    if not algs:
        raise InvalidClientKey(
            f"must be at least {LEAST_SECRET_BYTES} bytes long for client_secret_jwt; make one with: "
            f"openssl rand -hex {LEAST_SECRET_BYTES}"
        )
    try:
        SYMMETRIC["HS256"].prepare_key(secret)
    except InvalidKeyError:
        raise InvalidClientKey("is the text of a PEM or SSH key, which anybody may know: use a random secret") from None
    return ClientKey(key, algs)


def _algorithms_of(key: object) -> tuple[str, ...]:
    """The algorithms that a public key can verify. Raises `InvalidClientKey`, also for a key that is too small or too large."""
    smallest, largest = _RSA_BITS
    if isinstance(key, RSAPublicKey) and not smallest <= key.key_size <= largest:
        raise InvalidClientKey(f"is an RSA key of {key.key_size} bits: {smallest} to {largest} are taken")
    algs = algorithms_of(key)
    if not algs:
        raise InvalidClientKey("must be an RSA, P-256, P-384 or Ed25519 key")
    return algs
