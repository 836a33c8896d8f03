"""core.keys: what signs, and which key is found."""

import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.keys import InvalidKey, KeyRing, SigningKey

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
    assert ring.signer is keys[0]
    assert [ring.find(key.kid) for key in keys] == keys


def test_representations_show_ids_and_no_secret() -> None:
    key = SigningKey.hmac("2026-11", "HS512", SECRET)
    assert repr(key) == "<SigningKey 2026-11 HS512>"
    assert repr(KeyRing([key])) == "<KeyRing 2026-11>"
