"""Signing keys and hashed secrets."""

import hashlib
import hmac
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.keys import InvalidKey, KeyRing, SigningKey
from sidecar.core.secrets import InvalidSecretHash, choose_scheme, hash_secret, parse_secret_hash

KEY = "k" * 64
SALT = bytes(range(16))


@pytest.mark.parametrize(("alg", "digest"), [("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")])
def test_signatures_are_those_of_the_standard_library(alg: str, digest: str) -> None:
    key = SigningKey.hmac("1", alg, KEY)
    assert key.sign(b"data") == hmac.digest(KEY.encode(), b"data", digest)
    assert key.verify(b"data", key.sign(b"data"))
    assert not key.verify(b"datA", key.sign(b"data"))
    assert not key.verify(b"data", b"")


def public_keys() -> list[str]:
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    ec_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return [
        rsa_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        ec_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        ec_key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    ]


def test_a_public_key_is_no_secret() -> None:
    """The mistake behind CVE-2022-29217: an HMAC keyed with what everybody may know."""
    for text in public_keys():
        with pytest.raises(InvalidKey) as caught:
            SigningKey.hmac("1", "HS256", text)
        assert text[40:60] not in str(caught.value)


def test_the_first_key_signs_and_a_key_is_found_by_its_id_alone() -> None:
    first, second = SigningKey.hmac("1", "HS256", KEY), SigningKey.hmac("2", "HS256", KEY)
    ring = KeyRing([first, second])
    assert ring.signer is first
    assert (ring.find("2"), ring.find("3"), ring.find("")) == (second, None, None)
    assert repr(ring) == "<KeyRing 1 2>"


@pytest.mark.parametrize("scheme", ["sha256", "scrypt"])
def test_a_hash_matches_its_secret_and_no_other(scheme: str) -> None:
    text = hash_secret("correct horse", SALT, scheme)  # type: ignore[arg-type]
    parsed = parse_secret_hash(text)
    assert parsed.matches("correct horse")
    for other in ("correct hors", "correct horse ", "", "Correct horse", "correct horse\x00", "\ud800"):
        assert not parsed.matches(other)
    assert parsed.slow is (scheme == "scrypt")
    assert "correct" not in text + repr(parsed)


def test_the_schemes_are_what_they_say() -> None:
    fast = parse_secret_hash(hash_secret("s", SALT, "sha256"))
    assert fast.digest == hmac.digest(SALT, b"s", hashlib.sha256)
    slow = parse_secret_hash(hash_secret("s", SALT, "scrypt"))
    assert slow.digest == hashlib.scrypt(b"s", salt=SALT, n=2**14, r=8, p=1, maxmem=2**26, dklen=32)


def test_the_salt_makes_the_difference() -> None:
    assert hash_secret("s", SALT, "sha256") != hash_secret("s", SALT[::-1], "sha256")


def test_a_generated_secret_needs_no_slow_hash() -> None:
    assert choose_scheme("a" * 32) == "sha256"
    assert choose_scheme("hunter2") == "scrypt"


GOOD = hash_secret("s", SALT, "scrypt")
SALT_TEXT, DIGEST_TEXT = GOOD.split("$")[2:]
BAD = {
    "nothing": "",
    "a secret": "canary-secret",
    "another scheme": GOOD.replace("scrypt", "bcrypt"),
    "a part less": GOOD.rpartition("$")[0],
    "a part more": GOOD + "$x",
    "a cut digest": GOOD[:-2],
    "no salt": f"sha256$${DIGEST_TEXT}",
    "padding": GOOD + "=",
    "no base64": f"sha256${SALT_TEXT}$" + "!" * 43,
    "no cost": f"scrypt${SALT_TEXT}${DIGEST_TEXT}",
    "a cost too small": GOOD.replace("ln=14", "ln=9"),
    "a cost too large": GOOD.replace("ln=14", "ln=20"),
    "much parallelism": GOOD.replace("p=1", "p=99"),
    "no block size": GOOD.replace("r=8", "r=0"),
    "a long one": GOOD + "A" * 600,
    "a number that int() takes": GOOD.replace("ln=14", "ln=1_4"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_hash_is_refused_without_showing_it(case: str) -> None:
    with pytest.raises(InvalidSecretHash) as caught:
        parse_secret_hash(BAD[case])
    assert "canary" not in str(caught.value)


@given(st.text(max_size=80))
@settings(deadline=None)
def test_any_text_is_a_hash_or_refused(text: str) -> None:
    begun = time.monotonic()
    try:
        parse_secret_hash(text)
    except InvalidSecretHash:
        pass
    else:
        assert text.startswith(("sha256$", "scrypt$"))
    assert time.monotonic() - begun < 5, "reading a hash must not compute one"
