"""Which material a signing key needs (`core.jose.keys`), wherever the key is configured.

Rules:
- A symmetric algorithm needs `secret` and nothing else. An asymmetric one needs `private_key`, or `public_key` for a key that
  only verifies.
- A secret is at least as long as the hash (RFC 7518 section 3.2). A PEM key fits its algorithm.
"""

from collections.abc import Callable, Collection, Iterator, Set
from dataclasses import dataclass, field
from typing import Final

from sidecar.core.faults import FieldFault
from sidecar.core.jose.algorithms import ASYMMETRIC, LEAST_SECRET_BYTES, SECRET_BYTES, SYMMETRIC
from sidecar.core.jose.keys import InvalidKey, SigningKey

MATERIAL: Final = ("secret", "private_key", "public_key")


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """The fields of a signing key that depend on each other, as plain texts. `alg` is `None` when it is not known."""

    alg: str | None = None
    secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    public_key: str | None = None

    @property
    def given(self) -> list[str]:
        """The names of the material that was given."""
        return [name for name in MATERIAL if getattr(self, name) is not None]


def key_faults(key: KeyMaterial, malformed: Collection[str] = ()) -> list[FieldFault]:
    """Every fault of `key`. `malformed` names the fields that are invalid by themselves; `key` has `None` for them.

    A mismatch between `alg` and the material is reported only when there is no other fault.
    """
    faults = list(_field_faults(key, frozenset(malformed)))
    if not faults and not malformed and (text := _material_fault(key)):
        faults.append(FieldFault(None, text))
    return faults


def _field_faults(key: KeyMaterial, malformed: Set[str]) -> Iterator[FieldFault]:
    for name, fault_of in _OF_FIELDS:
        if name not in malformed and (text := fault_of(key)):
            yield FieldFault(name, text)


def _secret_fault(key: KeyMaterial) -> str | None:
    if key.secret is None or key.alg in ASYMMETRIC:  # `_material_fault` reports a secret for an asymmetric key
        return None
    least = SECRET_BYTES.get(key.alg or "", LEAST_SECRET_BYTES)
    try:
        size = len(key.secret.encode())
    except UnicodeEncodeError:
        return "must be text that UTF-8 can hold"
    if size < least:
        return f"must be at least {least} bytes long; make one with: openssl rand -hex {least}"
    return _refusal(SigningKey.hmac, "HS256", key.secret)


def _private_fault(key: KeyMaterial) -> str | None:
    if key.private_key is None or key.alg not in ASYMMETRIC:
        return None
    return _refusal(SigningKey.private, key.alg, key.private_key)


def _public_fault(key: KeyMaterial) -> str | None:
    if key.public_key is None or key.alg not in ASYMMETRIC:
        return None
    return _refusal(SigningKey.public, key.alg, key.public_key)


def _refusal(make: Callable[[str, str, str], SigningKey], alg: str, text: str) -> str | None:
    try:
        make("", alg, text)
    except InvalidKey as exc:
        return str(exc)
    return None


def _material_fault(key: KeyMaterial) -> str | None:
    if key.alg in SYMMETRIC and key.given != ["secret"]:
        return f"{key.alg} needs secret, and nothing else"
    if key.alg in ASYMMETRIC and key.given not in (["private_key"], ["public_key"]):
        return f"{key.alg} needs private_key, or public_key for a key that only verifies: exactly one of them"
    return None


_OF_FIELDS: Final = (("secret", _secret_fault), ("private_key", _private_fault), ("public_key", _public_fault))
