"""The keys that sign and verify access tokens: the first of the ring signs, all of them verify.

The signature algorithms themselves are PyJWT's. A key knows the one algorithm it is for, so that a token can never
choose how it is verified (RFC 8725 section 3.1).
"""

from collections.abc import Iterable
from typing import Any, Final

from jwt import InvalidKeyError
from jwt.algorithms import Algorithm, HMACAlgorithm

_HMAC: Final = {
    "HS256": HMACAlgorithm.SHA256,
    "HS384": HMACAlgorithm.SHA384,
    "HS512": HMACAlgorithm.SHA512,
}


class InvalidKey(ValueError):
    """Key material that cannot be used; the text never shows it."""


class SigningKey:
    """A key with its id and its algorithm. `signing` and `verifying` are what PyJWT's algorithm takes: one value for a
    symmetric key, the private and the public half of an asymmetric one; `signing` is `None` for a key that only verifies.
    """

    __slots__ = ("_algorithm", "_signing", "_verifying", "alg", "kid")

    def __init__(self, kid: str, alg: str, algorithm: Algorithm, signing: Any, verifying: Any) -> None:
        self.kid = kid
        self.alg = alg
        self._algorithm = algorithm
        self._signing = signing
        self._verifying = verifying

    def __repr__(self) -> str:
        return f"<SigningKey {self.kid} {self.alg}>"

    @classmethod
    def hmac(cls, kid: str, alg: str, secret: str) -> "SigningKey":
        """A symmetric key: `alg` is HS256, HS384 or HS512. Raises `InvalidKey` for what is a public key's text."""
        algorithm = HMACAlgorithm(_HMAC[alg])
        try:
            material = algorithm.prepare_key(secret)
        except InvalidKeyError:
            raise InvalidKey("is the text of a PEM or SSH key, which anybody may know: use a random secret") from None
        return cls(kid, alg, algorithm, material, material)

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`."""
        return self._algorithm.sign(data, self._signing)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's for `data`."""
        return self._algorithm.verify(data, self._verifying, signature)


class KeyRing:
    """The keys in force, found by `kid`."""

    __slots__ = ("_by_kid", "signer")

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self._by_kid = {key.kid: key for key in keys}
        self.signer = next(iter(self._by_kid.values()))

    def __repr__(self) -> str:
        return f"<KeyRing {' '.join(self._by_kid)}>"

    def find(self, kid: str) -> SigningKey | None:
        """The key of this id; an id is only ever looked up here, never a file or an address."""
        return self._by_kid.get(kid)
