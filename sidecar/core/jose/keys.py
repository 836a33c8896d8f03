"""The keys that sign and verify access tokens: a ring in which one key signs and all keys verify.

Rules:
- Each key is bound to one algorithm, so that a token cannot choose how it is verified (RFC 8725 section 3.1).
- The first key of the ring that can sign and is within its window signs.
- A window (`not_before` <= now < `not_after`) restricts only signing. A key verifies as long as it is in the ring: before its
  window, because another replica's clock may be ahead, and after it, because the tokens that it signed are still in use.
- When no key is within its window, the key whose window ended last goes on signing: a token that every replica can verify
  does less harm than no token. `lapsed` reports this, so that the operator is warned. At startup it is an error instead.
- The public half of every asymmetric key is published (RFC 7517), also before its window, so that a client that caches the set
  knows the key before it signs. A symmetric key is never published.

Signing and verifying 600 bytes take, in µs of CPU time on the machine of benchmarks/RESULTS.md (an invalid signature takes as
long as a valid one):

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

Both therefore run on the event loop. Handing work to a thread and waiting for it takes 10 µs (many at a time) to 63 µs (one at
a time), as much as every verification but one. A verified token is cached (`proxy.token_cache`), so that its signature is
checked once per worker. The longest pause of the event loop is one signature, or as many quick ones as a client pipelines
requests (`KeyRing.quick`). It is bounded because RSA keys of more than 4096 bits are refused: one of 8192 bits would block all
requests for about 8 ms. An operator who expects floods of invalid tokens should avoid ES384, at 320 µs each.
"""

import hmac
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final, NamedTuple, NoReturn

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

from sidecar.core.jose.algorithms import ALGORITHMS, LEAST_RSA_BITS, SYMMETRIC, algorithms_of, signer

RSA_BITS: Final = (LEAST_RSA_BITS, 4096)
"""The smallest and the largest RSA key: the former by RFC 7518 section 3.3, the latter to bound the time of a signature."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_QUICK: Final = frozenset(["HS256", "HS384", "HS512", "ES256", "EdDSA"])  # about 20 µs at most

_NEEDED: Final = {
    "RS256": "an RSA key",
    "PS256": "an RSA key",
    "ES256": "an elliptic curve key on P-256",
    "ES384": "an elliptic curve key on P-384",
    "EdDSA": "an Ed25519 key",
}


class InvalidKey(ValueError):
    """Key material that cannot be used. The message never shows it."""


class KeyRole(StrEnum):
    """The role of a key at a given time. Keys of every role verify."""

    SIGNS = "signs"
    VERIFIES = "verifies"
    NOT_YET = "not yet"
    RETIRED = "retired"


class Window(NamedTuple):
    """When a key may sign: from `not_before` until just before `not_after`, in epoch seconds; `None` means no bound."""

    not_before: float | None = None
    not_after: float | None = None

    def begun(self, now: float) -> bool:
        """Whether the window has begun at `now`."""
        return self.not_before is None or self.not_before <= now

    def ended(self, now: float) -> bool:
        """Whether the window has ended at `now`."""
        return self.not_after is not None and self.not_after <= now

    def holds(self, now: float) -> bool:
        """Whether a key with this window may sign at `now`."""
        return self.begun(now) and not self.ended(now)


ALWAYS: Final = Window()


class SigningKey:
    """A key with its id, its algorithm and its window.

    `signing` and `verifying` are the keys that PyJWT's algorithm takes: the same value for a symmetric key, the private and the
    public half of an asymmetric one. `signing` is `None` for a key that only verifies. `sign` gives the signature of some
    data; it is only for a key that `can_sign`.
    """

    __slots__ = ("_algorithm", "_verifying", "alg", "can_sign", "kid", "sign", "window")

    def __init__(self, kid: str, alg: str, signing: Any, verifying: Any, window: Window = ALWAYS) -> None:
        self.kid = kid
        self.alg = alg
        self.window = window
        self.can_sign = signing is not None
        self.sign = signer(alg, signing) if self.can_sign else _cannot_sign
        self._algorithm = ALGORITHMS[alg]
        self._verifying = verifying

    def __repr__(self) -> str:
        return f"<SigningKey {self.kid} {self.alg}>"

    @classmethod
    def hmac(cls, kid: str, alg: str, secret: str, window: Window = ALWAYS) -> "SigningKey":
        """A symmetric key; `alg` is HS256, HS384 or HS512. Raises `InvalidKey` when `secret` is the text of a public key."""
        try:
            material = SYMMETRIC[alg].prepare_key(secret)
        except InvalidKeyError:
            raise InvalidKey(
                "is the text of a PEM, SSH or JWK key, which anybody may know: use a random secret"
            ) from None
        return cls(kid, alg, material, material, window)

    @classmethod
    def private(cls, kid: str, alg: str, pem: str, window: Window = ALWAYS) -> "SigningKey":
        """An asymmetric key that signs. Raises `InvalidKey` when `pem` is not a PEM private key, or does not fit `alg`."""
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
        """An asymmetric key that only verifies, whatever its window is. Raises `InvalidKey` like `private`."""
        if "PRIVATE KEY-----" in pem:
            raise InvalidKey("is a private key: name it private_key, or give its public half")
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise InvalidKey("is no public key in PEM form (-----BEGIN PUBLIC KEY-----)") from None
        return cls(kid, alg, None, _fitting(alg, key), window)

    @property
    def symmetric(self) -> bool:
        """Whether the key that verifies is also the one that signs, so that it must not be published."""
        return self.alg in SYMMETRIC

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether this key made `signature` over `data`; an HMAC is compared in constant time."""
        if self.alg in SYMMETRIC:
            return hmac.compare_digest(self.sign(data), signature)
        return self._algorithm.verify(data, self._verifying, signature)

    def public_jwk(self) -> dict[str, str]:
        """The public half as a JWK (RFC 7517 section 4). Raises `InvalidKey` for a symmetric key."""
        if self.symmetric:
            raise InvalidKey("a symmetric key has no public half")
        # Without key_ops, which should not be used together with use (section 4.3).
        members = self._algorithm.to_jwk(self._verifying, as_dict=True)
        return {"kid": self.kid, "alg": self.alg, "use": "sig"} | {
            name: members[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in members
        }


def _cannot_sign(_: bytes) -> NoReturn:
    raise InvalidKey("only verifies")


def _fitting(alg: str, key: PublicKeyTypes) -> PublicKeyTypes:
    """Return `key` if it fits `alg`. Raises `InvalidKey` otherwise."""
    if alg not in algorithms_of(key):
        raise InvalidKey(f"does not fit alg {alg}, which needs {_NEEDED[alg]}")
    least, most = RSA_BITS
    if isinstance(key, rsa.RSAPublicKey) and not least <= key.key_size <= most:
        raise InvalidKey(f"has {key.key_size} bits: an RSA key must have {least} to {most}")
    return key


def generate_pem(alg: str) -> str:
    """Generate a private key for an asymmetric `alg`, as PKCS #8 in PEM form. Raises `InvalidKey` for another algorithm."""
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
    """The keys in force, by `kid`. Immutable: a change replaces the ring and everything that was built from it. `quick`: a
    signature takes so little time that a few may be made one right after the other."""

    __slots__ = ("_by_kid", "_signers", "quick")

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        """Raises `InvalidKey` when no key can sign at any time."""
        self._by_kid = {key.kid: key for key in keys}
        self._signers = tuple(key for key in self if key.can_sign)
        if not self._signers:
            raise InvalidKey("no key can sign: one must be a secret or a private key")
        self.quick = all(key.alg in _QUICK for key in self._signers)

    def __repr__(self) -> str:
        return f"<KeyRing {' '.join(self._by_kid)}>"

    def __iter__(self) -> Iterator[SigningKey]:
        return iter(self._by_kid.values())

    def find(self, kid: str) -> SigningKey | None:
        """The key with this `kid`. A `kid` is only looked up in the ring, never used as a file name or a URL."""
        return self._by_kid.get(kid)

    def signer(self, now: float) -> SigningKey:
        """The key that signs at `now` (epoch seconds). The rules of this module say which, when no key is within its window."""
        for key in self._signers:
            if key.window.holds(now):
                return key
        return max(self._signers, key=lambda key: _last_usable(key.window, now))

    def lapsed(self, now: float) -> bool:
        """Whether no signing key is within its window at `now`, so that `signer` returns the least bad one."""
        return not any(key.window.holds(now) for key in self._signers)

    def role(self, key: SigningKey, now: float) -> KeyRole:
        """The role of a key of this ring at `now`."""
        if key.can_sign and not self.lapsed(now) and key is self.signer(now):
            return KeyRole.SIGNS
        if key.window.ended(now):
            return KeyRole.RETIRED
        return KeyRole.VERIFIES if key.window.begun(now) else KeyRole.NOT_YET

    def public_jwks(self) -> list[dict[str, str]]:
        """The public keys for a JWK Set (RFC 7517 section 5), in the order of the ring, without symmetric keys."""
        return [key.public_jwk() for key in self if not key.symmetric]


def _last_usable(window: Window, now: float) -> tuple[bool, float]:
    """Orders keys outside their windows: those whose window has ended before the others, then the nearest to `now`."""
    if window.ended(now):
        return True, window.not_after or 0.0
    return False, -(window.not_before or 0.0)
