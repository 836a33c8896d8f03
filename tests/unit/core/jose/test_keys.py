"""core.jose.keys: what signs, and which key is found."""

import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jose.algorithms import ASYMMETRIC
from sidecar.core.jose.keys import InvalidKey, KeyRing, KeyRole, SigningKey, Window, generate_pem
from tests.support.keys import OTHER_PEMS, PEMS, public_pem

SECRET = "k" * 64
DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
ELLIPTIC, EDWARDS = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()

# CVE-2022-29217: an HMAC keyed with what everybody may know.
KEY_TEXTS = {
    "a public PEM": ELLIPTIC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    "an Ed25519 public PEM": EDWARDS.public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode(),
    "an SSH key": ELLIPTIC.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    "an Ed25519 SSH key": EDWARDS.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    "a JWK": json.dumps({"kty": "oct", "k": "a" * 43}),
    "a private PEM": ELLIPTIC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
}


@pytest.mark.parametrize("alg", DIGESTS)
@given(data=st.binary(max_size=100))
def test_a_signature_is_the_standard_librarys(alg: str, data: bytes) -> None:
    key = SigningKey.hmac("1", alg, SECRET)
    assert key.sign(data) == hmac.digest(SECRET.encode(), data, DIGESTS[alg])
    assert key.verify(data, key.sign(data))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_other_signature_is_refused(data: bytes, signature: bytes) -> None:
    key = SigningKey.hmac("1", "HS256", SECRET)
    assert key.verify(data, signature) is (signature == key.sign(data))


@pytest.mark.parametrize("alg", DIGESTS)
def test_a_signature_is_one_keys_one_algorithms_and_whole(alg: str) -> None:
    key = SigningKey.hmac("1", alg, SECRET)
    signature = key.sign(b"data")
    others = [SigningKey.hmac("1", other, SECRET) for other in DIGESTS if other != alg]
    for other in [*others, SigningKey.hmac("1", alg, SECRET[:-1] + "K")]:
        assert not other.verify(b"data", signature)
    for changed in (b"", signature[:-1], signature + b"\0", signature.hex().encode()):
        assert not key.verify(b"data", changed)
    assert not key.verify(b"data ", signature)


@pytest.mark.parametrize("name", KEY_TEXTS)
def test_the_text_of_an_asymmetric_key_is_no_secret(name: str) -> None:
    with pytest.raises(InvalidKey) as caught:
        SigningKey.hmac("1", "HS256", KEY_TEXTS[name])
    assert KEY_TEXTS[name][40:60] not in str(caught.value)


@pytest.mark.parametrize("kid", ["", "3", "1 ", "../../dev/null", "http://127.0.0.1:1/keys", "' or 1=1 --", "\ud800"])
def test_an_id_that_is_not_in_the_ring_finds_nothing(kid: str) -> None:
    assert KeyRing([SigningKey.hmac("1", "HS256", SECRET), SigningKey.hmac("2", "HS256", SECRET)]).find(kid) is None


def test_the_first_key_signs_and_each_is_found_by_its_id() -> None:
    keys = [SigningKey.hmac(kid, "HS256", SECRET) for kid in ("b", "a", "c")]
    ring = KeyRing(iter(keys))
    assert ring.signer(0) is keys[0]
    assert [ring.find(key.kid) for key in keys] == keys


def test_representations_show_ids_and_no_secret() -> None:
    key = SigningKey.hmac("2026-11", "HS512", SECRET)
    assert repr(key) == "<SigningKey 2026-11 HS512>"
    assert repr(KeyRing([key])) == "<KeyRing 2026-11>"


# Asymmetric keys.


def asymmetric(alg: str, kid: str = "1") -> SigningKey:
    return SigningKey.private(kid, alg, PEMS[alg])


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_what_a_private_key_signs_its_public_half_verifies_and_no_other(alg: str) -> None:
    key, public = asymmetric(alg), SigningKey.public("1", alg, public_pem(PEMS[alg]))
    signature = key.sign(b"data")
    assert key.verify(b"data", signature)
    assert public.verify(b"data", signature)
    assert (key.can_sign, public.can_sign, key.symmetric) == (True, False, False)
    assert not SigningKey.private("1", alg, OTHER_PEMS[alg]).verify(b"data", signature)
    assert not key.verify(b"data ", signature)
    changed = bytes([signature[0] ^ 1]) + signature[1:]
    for other in (b"", changed, signature[:-1], signature + b"\0", bytes(len(signature))):
        assert not public.verify(b"data", other)


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_the_published_key_is_the_public_half_alone(alg: str) -> None:
    """As PyJWT reads it, and with no member of RFC 7518 that is private."""
    key = asymmetric(alg, "k")
    published = key.public_jwk()
    assert published.keys() <= {"kid", "alg", "use", "kty", "n", "e", "crv", "x", "y"}
    assert (published["kid"], published["alg"], published["use"]) == ("k", alg, "sig")
    read = jwt.PyJWK(published).key
    text = read.public_bytes(serialization.Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert text == public_pem(PEMS[alg])


def test_a_ring_publishes_no_symmetric_key() -> None:
    ring = KeyRing([SigningKey.hmac("h", "HS256", SECRET), asymmetric("ES256", "e"), asymmetric("RS256", "r")])
    assert [key["kid"] for key in ring.public_jwks()] == ["e", "r"]
    assert SECRET not in json.dumps(ring.public_jwks())
    with pytest.raises(InvalidKey):
        SigningKey.hmac("h", "HS256", SECRET).public_jwk()


def private_pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()  # type: ignore[no-any-return]


WEAK = private_pem(rsa.generate_private_key(65537, 1024))  # noqa: S505  to be refused
HUGE = (
    rsa.RSAPublicNumbers(65537, 2**8191 + 1)
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
WRONG_PRIVATE = {
    "RSA for ES256": ("ES256", PEMS["RS256"], "needs an elliptic curve key on P-256"),
    "P-256 for RS256": ("RS256", PEMS["ES256"], "needs an RSA key"),
    "P-256 for ES384": ("ES384", PEMS["ES256"], "needs an elliptic curve key on P-384"),
    "P-384 for ES256": ("ES256", PEMS["ES384"], "needs an elliptic curve key on P-256"),
    "secp256k1 for ES256": ("ES256", private_pem(ec.generate_private_key(ec.SECP256K1())), "on P-256"),
    "Ed448 for EdDSA": ("EdDSA", private_pem(ed448.Ed448PrivateKey.generate()), "needs an Ed25519 key"),
    "1024 bits": ("RS256", WEAK, "has 1024 bits"),
    "a public key": ("ES256", public_pem(PEMS["ES256"]), "is no private key"),
    "a certificate's letters": ("RS256", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", "is no private key"),
    "half a key": ("RS256", PEMS["RS256"][:400], "is no private key"),
    "a secret": ("ES256", SECRET, "is no private key"),
    "nothing": ("ES256", "", "is no private key"),
    "a surrogate": ("ES256", "\ud800", "is no private key"),
    "a passphrase": (
        "ES256",
        ELLIPTIC.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"p")
        ).decode(),
        "has a passphrase",
    ),
}  # fmt: skip
WRONG_PUBLIC = {
    "a private key": ("ES256", PEMS["ES256"], "is a private key"),
    "RSA for EdDSA": ("EdDSA", public_pem(PEMS["RS256"]), "needs an Ed25519 key"),
    "a secret": ("ES256", SECRET, "is no public key"),
    "1024 bits": ("RS256", public_pem(WEAK), "has 1024 bits"),
    "8192 bits": ("PS256", HUGE, "has 8192 bits: an RSA key must have 2048 to 4096"),
}


@pytest.mark.parametrize("case", WRONG_PRIVATE)
def test_a_private_key_that_does_not_fit_is_refused(case: str) -> None:
    alg, pem, expected = WRONG_PRIVATE[case]
    with pytest.raises(InvalidKey, match=expected) as caught:
        SigningKey.private("1", alg, pem)
    assert len(pem) < 60 or pem[30:60] not in str(caught.value)


@pytest.mark.parametrize("case", WRONG_PUBLIC)
def test_a_public_key_that_does_not_fit_is_refused(case: str) -> None:
    alg, pem, expected = WRONG_PUBLIC[case]
    with pytest.raises(InvalidKey, match=expected) as caught:
        SigningKey.public("1", alg, pem)
    assert pem[30:60] not in str(caught.value)


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_generated_key_fits(alg: str) -> None:
    assert SigningKey.private("1", alg, generate_pem(alg)).can_sign


# Windows.

OPEN, SHUT, LATER = (None, None), (None, 100.0), (200.0, None)
ROLES: dict[str, tuple[float, list[tuple[float | None, float | None]], str, list[str]]] = {
    "one without bounds": (0, [OPEN], "0", ["signs"]),
    "the first": (0, [OPEN, OPEN], "0", ["signs", "verifies"]),
    "the first has not begun": (199.9, [LATER, OPEN], "1", ["not yet", "signs"]),
    "the first begins": (200, [LATER, OPEN], "0", ["signs", "verifies"]),
    "the first goes on": (99.9, [SHUT, OPEN], "0", ["signs", "verifies"]),
    "the first has ended": (100, [SHUT, OPEN], "1", ["retired", "signs"]),
    "the last resort: ended, rather than not begun": (150, [LATER, SHUT], "1", ["not yet", "retired"]),
    "the last resort: ended last": (150, [SHUT, (0, 120.0)], "1", ["retired", "retired"]),
    "the last resort: begins first": (50, [LATER, (150.0, 160.0)], "1", ["not yet", "not yet"]),
}


@pytest.mark.parametrize("case", ROLES)
def test_the_first_key_within_its_window_signs(case: str) -> None:
    now, windows, signer, roles = ROLES[case]
    keys = [SigningKey.hmac(str(n), "HS256", SECRET, Window(*window)) for n, window in enumerate(windows)]
    ring = KeyRing(keys)
    assert ring.signer(now).kid == signer
    assert [ring.role(key, now) for key in keys] == [KeyRole(role) for role in roles]
    assert ring.lapsed(now) is ("signs" not in roles)
    assert all(ring.find(key.kid) is key for key in keys)  # outside of its window a key still verifies


def test_a_public_half_never_signs() -> None:
    public = SigningKey.public("p", "ES256", public_pem(PEMS["ES256"]))
    ring = KeyRing([public, asymmetric("EdDSA", "e")])
    assert ring.signer(0).kid == "e"
    assert ring.role(public, 0) is KeyRole.VERIFIES
    with pytest.raises(InvalidKey, match="no key can sign"):
        KeyRing([public])


def test_a_public_half_makes_no_signature() -> None:
    with pytest.raises(InvalidKey, match="only verifies"):
        SigningKey.public("1", "ES256", public_pem(PEMS["ES256"])).sign(b"data")


def test_a_ring_is_quick_when_every_key_that_signs_is() -> None:
    quick, slow = SigningKey.hmac("1", "HS256", SECRET), asymmetric("RS256", "2")
    assert KeyRing([quick, asymmetric("ES256", "2"), SigningKey.public("3", "RS256", public_pem(PEMS["RS256"]))]).quick
    assert not KeyRing([quick, slow]).quick
