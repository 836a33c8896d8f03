"""core.oauth.secrets: hashes that may stand in a configuration file."""

import base64
import hashlib
import hmac
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.oauth.secrets import (
    InvalidSecretHash,
    Scheme,
    SecretHash,
    choose_scheme,
    hash_secret,
    parse_secret_hash,
)

SALT = bytes(range(16))
DIGEST = bytes(32)


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def scrypt(cost: str = "ln=10,r=1,p=1", salt: bytes = SALT, digest: bytes = DIGEST) -> str:
    """A well-formed hash, cheap unless told otherwise; of no known secret."""
    return f"scrypt${cost}${text(salt)}${text(digest)}"


def sha256(salt: bytes = SALT, digest: bytes = DIGEST) -> str:
    return f"sha256${text(salt)}${text(digest)}"


FAST, SLOW = hash_secret("secret", SALT, "sha256"), hash_secret("secret", SALT, "scrypt")


def test_the_two_schemes_are_spelled_as_the_head_of_the_module_says() -> None:
    assert f"sha256${text(SALT)}${text(hmac.digest(SALT, b'secret', 'sha256'))}" == FAST
    digest = hashlib.scrypt(b"secret", salt=SALT, n=2**14, r=8, p=1, maxmem=2**26, dklen=32)
    assert f"scrypt$ln=14,r=8,p=1${text(SALT)}${text(digest)}" == SLOW


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        (sha256(), SecretHash(SALT, DIGEST, None)),
        (sha256(salt=b"8" * 8), SecretHash(b"8" * 8, DIGEST, None)),
        (sha256(salt=b"6" * 64), SecretHash(b"6" * 64, DIGEST, None)),
        (scrypt(), SecretHash(SALT, DIGEST, (10, 1, 1))),
        (scrypt("ln=15,r=8,p=4"), SecretHash(SALT, DIGEST, (15, 8, 4))),
        (scrypt("ln=11,r=99,p=1"), SecretHash(SALT, DIGEST, (11, 99, 1))),
    ],
)
def test_read(written: str, parsed: SecretHash) -> None:
    assert parse_secret_hash(written) == parsed
    assert parsed.slow is (parsed.cost is not None)


INVALID = [
    "",
    "$",
    "$$",
    "$$$",
    "canary",
    "sha256$canary",
    FAST.replace("sha256", "SHA256"),
    FAST.replace("sha256", "md5"),
    FAST.replace("sha256", "scrypt"),
    FAST.replace("$", ":"),
    " " + FAST,
    FAST + "\n",
    FAST + "=",
    FAST[:-1],
    FAST[:-4],
    FAST + "AAAA",
    FAST + "$",
    sha256(salt=b"7" * 7),
    sha256(salt=b"7" * 65),
    sha256(salt=b""),
    sha256(digest=b""),
    sha256(digest=bytes(31)),
    sha256(digest=bytes(33)),
    FAST[:-1] + "é",
    FAST[:-1] + "\ud800",
    FAST[:-1] + "!",
    FAST[:-1] + chr(ord(FAST[-1]) + 1),  # the same bytes, but a bit is set behind them
    SLOW.replace("scrypt", "sha256"),
    SLOW.replace("ln=14,r=8,p=1$", ""),
    *map(
        scrypt,
        [
            "",
            "canary",
            "ln=9,r=8,p=1",
            "ln=99,r=8,p=1",
            "ln=100,r=8,p=1",
            "ln=-14,r=8,p=1",
            "ln=+14,r=8,p=1",
            "ln=1_4,r=8,p=1",
            "ln=14.0,r=8,p=1",
            "ln= 14,r=8,p=1",
            "ln=16,r=8,p=1",  # 64 MiB
            "ln=14,r=0,p=1",
            "ln=14,r=17,p=1",
            "ln=14,r=8,p=0",
            "ln=14,r=8,p=5",
            "ln=14,r=8",
            "r=8,ln=14,p=1",
            "ln=14,r=8,p=1,",
            "ln=14,r=8,p=1\n",
            "LN=14,R=8,P=1",
        ],
    ),
    scrypt(salt=b"7" * 7),
    scrypt(digest=bytes(31)),
    "A" * 1024 * 1024,
    "$" * 1024 * 1024,
    sha256() + "A" * 512,
]


@pytest.mark.parametrize("written", INVALID, ids=range(len(INVALID)))
def test_refused_without_being_shown(written: str) -> None:
    with pytest.raises(InvalidSecretHash) as caught:
        parse_secret_hash(written)
    assert "canary" not in str(caught.value)
    assert FAST[10:30] not in str(caught.value)


SECRETS = st.text(st.characters(exclude_categories=[]), max_size=40)  # lone surrogates too: JSON can carry them


@given(SECRETS, st.binary(min_size=8, max_size=64))
def test_what_is_hashed_is_read_and_matches(secret: str, salt: bytes) -> None:
    parsed = parse_secret_hash(hash_secret(secret, salt, "sha256"))
    assert parsed.salt == salt
    assert parsed.matches(secret) is ("\0" not in secret), "RFC 6749 allows no NUL"


@given(SECRETS, SECRETS)
def test_no_other_secret_matches(secret: str, other: str) -> None:
    assert parse_secret_hash(hash_secret(secret, SALT, "sha256")).matches(other) is (
        secret == other and "\0" not in secret
    )


@pytest.mark.parametrize("scheme", get_args(Scheme))
@pytest.mark.parametrize(
    "other", ["", "secre", "secrets", "Secret", " secret", "secret ", "secret\0", "secret\0\0", "\0"]
)
def test_a_secret_that_is_close_does_not_match(scheme: Scheme, other: str) -> None:
    """A NUL at the end pads the key inside scrypt and would go unnoticed."""
    cheap = SecretHash(SALT, hashlib.scrypt(b"secret", salt=SALT, n=2**10, r=1, p=1, dklen=32), (10, 1, 1))
    hashed = cheap if scheme == "scrypt" else parse_secret_hash(FAST)
    assert hashed.matches("secret")
    assert not hashed.matches(other)


def test_a_digest_belongs_to_its_salt_and_its_cost() -> None:
    hashed = SecretHash(SALT, hashlib.scrypt(b"secret", salt=SALT, n=2**10, r=2, p=1, dklen=32), (10, 2, 1))
    assert hashed.matches("secret")
    assert not hashed._replace(salt=SALT[::-1]).matches("secret")
    assert not hashed._replace(cost=(10, 1, 1)).matches("secret")
    assert not hashed._replace(cost=None).matches("secret")


@pytest.mark.parametrize(("length", "scheme"), [(0, "scrypt"), (31, "scrypt"), (32, "sha256"), (64, "sha256")])
def test_only_a_secret_of_32_characters_passes_for_generated(length: int, scheme: Scheme) -> None:
    assert choose_scheme("a" * length) == scheme


@given(
    st.text(max_size=60)
    | st.builds("{}${}${}${}".format, *[st.sampled_from(["scrypt", "ln=10,r=1,p=1", "AAAA", "", "x"])] * 4)
)
def test_any_text_is_read_or_refused(written: str) -> None:
    try:
        parsed = parse_secret_hash(written)
    except InvalidSecretHash:
        return
    assert len(parsed.digest) == 32


@pytest.mark.parametrize("cost", ["ln=16,r=1,p=1", "ln=17,r=1,p=1", "ln=18,r=1,p=1"])
def test_a_hash_that_was_read_can_be_computed(cost: str) -> None:
    try:
        parsed = parse_secret_hash(scrypt(cost))
    except InvalidSecretHash:
        return
    assert not parsed.matches("secret")


@pytest.mark.parametrize("cost", ["ln=15,r=1,p=1", "ln=10,r=1,p=4", "ln=10,r=99,p=1"])
def test_the_bounds_of_the_cost_can_be_computed(cost: str) -> None:
    assert not parse_secret_hash(scrypt(cost)).matches("secret")


@pytest.mark.parametrize(("written", "name"), [(FAST, "<SecretHash sha256>"), (SLOW, "<SecretHash scrypt>")])
def test_a_representation_shows_neither_salt_nor_digest(written: str, name: str) -> None:
    assert repr(parse_secret_hash(written)) == name
