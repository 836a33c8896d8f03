"""The keys that sign and verify access tokens: a ring, of which one signs and all verify.

Rules:
- A key knows the one algorithm it is for, so that a token can never choose how it is verified (RFC 8725 section 3.1).
  The algorithms themselves are PyJWT's, over `cryptography`.
- The first key of the ring that can sign and is within its window signs.
- A window (`not_before` <= now < `not_after`) is about signing alone. A key verifies as long as it is in the ring: before its
  window, since another replica's clock may be ahead; after it, since the tokens that it signed are still about.
- When every window is shut, issuing goes on with the key whose window ended last: tokens of ours that everybody can verify
  do less harm than none. `lapsed` says so, for the operator to be told. At the start it is refused instead.
- The public half of every asymmetric key is published (RFC 7517), also before its window, so that who caches the set knows
  a key before it signs. A symmetric key never is.

What a signature of 600 bytes costs, in µs of CPU, on the machine of benchmarks/RESULTS.md (a bad one costs what a good one
does):

=============== ===== ======
alg              sign verify
=============== ===== ======
HS256               1      2
RS256, 2048 bit   208     15
PS256, 2048 bit   212     18
RS256, 3072 bit   587     30
RS256, 4096 bit  1262     50
ES256              18     44
EdDSA              20     59
ES384             148    320
=============== ===== ======

So both are done where they are needed, on the loop: giving work to a thread and waiting for it costs 10 (many at a time) to 63
µs (one at a time) by itself, as much as all verifications but one, and a verified token is remembered (`proxy.token_cache`),
so that a signature is checked once per token and worker. The longest pause is that of one signature. It is bounded, since RSA
keys beyond 4096 bits are refused: 8192 would stop everybody for some 8 ms. Who can afford no storm of bad tokens at
320 µs each leaves ES384 alone.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from jwt import InvalidKeyError

from sidecar.core.jose.algorithms import ALGORITHMS, LEAST_RSA_BITS, SYMMETRIC, algorithms_of

RSA_BITS: Final = (LEAST_RSA_BITS, 4096)
"""The least is that of RFC 7518 section 3.3, the most bounds what a signature costs."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_NEEDED: Final = {
    "RS256": "an RSA key",
    "PS256": "an RSA key",
    "ES256": "an elliptic curve key on P-256",
    "ES384": "an elliptic curve key on P-384",
    "EdDSA": "an Ed25519 key",
}


class InvalidKey(ValueError):
    """Key material that cannot be used; the text never shows it."""


class KeyRole(StrEnum):
    """What a key of the ring does at a moment. All of them verify."""

    SIGNS = "signs"
    VERIFIES = "verifies"
    NOT_YET = "not yet"
    RETIRED = "retired"


class Window(NamedTuple):
    """When a key may sign, in epoch seconds: from `not_before` on, until just before `not_after`; `None` is no bound."""

    not_before: float | None = None
    not_after: float | None = None

    def begun(self, now: float) -> bool:
        """Whether the first moment has come."""
        return self.not_before is None or self.not_before <= now

    def ended(self, now: float) -> bool:
        """Whether the last moment has gone."""
        return self.not_after is not None and self.not_after <= now

    def holds(self, now: float) -> bool:
        """Whether a key may sign at `now`."""
        return self.begun(now) and not self.ended(now)


ALWAYS: Final = Window()


class SigningKey:
    """A key with its id, its algorithm and its window. `signing` and `verifying` are what PyJWT's algorithm takes: one value
    for a symmetric key, the private and the public half of an asymmetric one; `signing` is `None` for a key that only
    verifies.
    """

    __slots__ = ("_algorithm", "_signing", "_verifying", "alg", "kid", "window")

    def __init__(self, kid: str, alg: str, signing: Any, verifying: Any, window: Window = ALWAYS) -> None:
        self.kid = kid
        self.alg = alg
        self.window = window
        self._algorithm = ALGORITHMS[alg]
        self._signing = signing
        self._verifying = verifying

    def __repr__(self) -> str:
        return f"<SigningKey {self.kid} {self.alg}>"

    @classmethod
    def hmac(cls, kid: str, alg: str, secret: str, window: Window = ALWAYS) -> "SigningKey":
        """A symmetric key: `alg` is HS256, HS384 or HS512. Raises `InvalidKey` for what is a public key's text."""
        try:
            material = SYMMETRIC[alg].prepare_key(secret)
        except InvalidKeyError:
            raise InvalidKey(
                "is the text of a PEM, SSH or JWK key, which anybody may know: use a random secret"
            ) from None
        return cls(kid, alg, material, material, window)

    @classmethod
    def private(cls, kid: str, alg: str, pem: str, window: Window = ALWAYS) -> "SigningKey":
        """An asymmetric key that signs. Raises `InvalidKey` for what is no PEM private key, or not one for `alg`."""
        try:
            key = load_pem_private_key(pem.encode(), None)
        except TypeError:
            raise InvalidKey("has a passphrase, which nobody can be asked for: store it without one") from None
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidKey("is no private key in PEM form (-----BEGIN PRIVATE KEY-----)") from None
        public = _fitting(alg, key.public_key())
        return cls(kid, alg, key, public, window)

    @classmethod
    def public(cls, kid: str, alg: str, pem: str, window: Window = ALWAYS) -> "SigningKey":
        """An asymmetric key that only verifies, whatever its window says. Raises `InvalidKey` like `private`."""
        if "PRIVATE KEY-----" in pem:
            raise InvalidKey("is a private key: name it private_key, or give its public half")
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidKey("is no public key in PEM form (-----BEGIN PUBLIC KEY-----)") from None
        return cls(kid, alg, None, _fitting(alg, key), window)

    @property
    def can_sign(self) -> bool:
        """Whether we hold what signing takes."""
        return self._signing is not None

    @property
    def symmetric(self) -> bool:
        """Whether who can verify can also sign, so that the key is never shown."""
        return self.alg in SYMMETRIC

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`. Only for a key that `can_sign`."""
        return self._algorithm.sign(data, self._signing)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's for `data`."""
        return self._algorithm.verify(data, self._verifying, signature)

    def public_jwk(self) -> dict[str, str]:
        """The public half (RFC 7517 section 4). Raises `InvalidKey` for a symmetric key."""
        if self.symmetric:
            raise InvalidKey("a symmetric key has no public half")
        # Without key_ops, which should not stand beside use (section 4.3).
        members = self._algorithm.to_jwk(self._verifying, as_dict=True)
        return {"kid": self.kid, "alg": self.alg, "use": "sig"} | {
            name: members[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in members
        }


def _fitting(alg: str, key: PublicKeyTypes) -> PublicKeyTypes:
    """The key, when it is one for `alg`. Raises `InvalidKey`."""
    if alg not in algorithms_of(key):
        raise InvalidKey(f"does not fit alg {alg}, which needs {_NEEDED[alg]}")
    least, most = RSA_BITS
    if isinstance(key, rsa.RSAPublicKey) and not least <= key.key_size <= most:
        raise InvalidKey(f"has {key.key_size} bits: an RSA key must have {least} to {most}")
    return key


def generate_pem(alg: str) -> str:
    """A new private key for an asymmetric `alg`, by the system's randomness, as PKCS #8 in PEM form."""
    key: PrivateKey
    match alg:
        case "RS256" | "PS256":
            key = rsa.generate_private_key(65537, RSA_BITS[0])
        case "ES256":
            key = ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            key = ec.generate_private_key(ec.SECP384R1())
        case "EdDSA":
            key = ed25519.Ed25519PrivateKey.generate()
        case _:
            raise InvalidKey(f"{alg} is no asymmetric algorithm of ours")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class KeyRing:
    """The keys in force, found by `kid`. Immutable: to change it, another one takes its place, with all that rests on it."""

    __slots__ = ("_by_kid", "_signers")

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        """Raises `InvalidKey` when no key can sign, whatever the time."""
        self._by_kid = {key.kid: key for key in keys}
        self._signers = tuple(key for key in self if key.can_sign)
        if not self._signers:
            raise InvalidKey("no key can sign: one must be a secret or a private key")

    def __repr__(self) -> str:
        return f"<KeyRing {' '.join(self._by_kid)}>"

    def __iter__(self) -> Iterator[SigningKey]:
        return iter(self._by_kid.values())

    def find(self, kid: str) -> SigningKey | None:
        """The key of this id; an id is only ever looked up here, never a file or an address."""
        return self._by_kid.get(kid)

    def signer(self, now: float) -> SigningKey:
        """The key that signs at `now` (epoch seconds); see the rules above for when every window is shut."""
        for key in self._signers:
            if key.window.holds(now):
                return key
        return max(self._signers, key=lambda key: _last_usable(key.window, now))

    def lapsed(self, now: float) -> bool:
        """Whether no key's window holds `now`, so that `signer` is only the least bad one."""
        return not any(key.window.holds(now) for key in self._signers)

    def role(self, key: SigningKey, now: float) -> KeyRole:
        """What a key of this ring does at `now`."""
        if key.can_sign and not self.lapsed(now) and key is self.signer(now):
            return KeyRole.SIGNS
        if key.window.ended(now):
            return KeyRole.RETIRED
        return KeyRole.VERIFIES if key.window.begun(now) else KeyRole.NOT_YET

    def public_jwks(self) -> list[dict[str, str]]:
        """The set of RFC 7517 section 5, in the order of the ring, without any symmetric key."""
        return [key.public_jwk() for key in self if not key.symmetric]


def _last_usable(window: Window, now: float) -> tuple[bool, float]:
    """Orders keys of which none may sign: what has been in use comes before what has not, then the nearest to `now`."""
    if window.ended(now):
        return True, window.not_after or 0.0
    return False, -(window.not_before or 0.0)
