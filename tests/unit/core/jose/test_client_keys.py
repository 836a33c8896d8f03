"""core.jose.client_keys: which keys a client may register, and what each of them verifies."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sidecar.core.jose.algorithms import ALGORITHMS, ASYMMETRIC, SYMMETRIC
from sidecar.core.jose.client_keys import ClientKey, InvalidClientKey, from_secret, read_jwk, read_pem
from tests.support.assertions import ec_pair, ed_pair, rsa_pair, sign

RSA, EC, P384, ED = rsa_pair(), ec_pair(), ec_pair(ec.SECP384R1()), ed_pair()
SECRET = "s" * 64
PAIRS = {"RS256": RSA, "PS256": RSA, "ES256": EC, "ES384": P384, "EdDSA": ED}
ALGS = {"rsa": ("RS256", "PS256"), "ec": ("ES256",), "p384": ("ES384",), "ed": ("EdDSA",)}
BY_NAME = {"rsa": RSA, "ec": EC, "p384": P384, "ed": ED}


def parts(token: str) -> tuple[bytes, bytes]:
    signed, _, signature = token.rpartition(".")
    return signed.encode(), base64.urlsafe_b64decode(signature + "==")


@pytest.mark.parametrize("name", BY_NAME)
def test_a_key_is_the_same_as_pem_and_as_jwk(name: str) -> None:
    pair = BY_NAME[name]
    for key in (read_pem(pair.public), read_jwk(pair.jwk)):
        assert key.algs == ALGS[name]
        assert repr(key) == f"<ClientKey - {' '.join(ALGS[name])}>"


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_a_key_verifies_what_it_signed_and_nothing_else(alg: str) -> None:
    data, signature = parts(sign({}, PAIRS[alg].private, alg))
    key = read_pem(PAIRS[alg].public)
    assert key.verify(alg, data, signature)
    assert not key.verify(alg, data + b"x", signature)
    for broken in (b"", signature[:-1], signature + b"x", bytes(len(signature)), b"\xff" * len(signature)):
        assert not key.verify(alg, data, broken)
    for other in {*ALGORITHMS, "none", ""} - {alg}:
        assert not key.verify(other, data, signature)


@pytest.mark.parametrize(
    ("length", "algs"),
    [(32, ("HS256",)), (47, ("HS256",)), (48, ("HS256", "HS384")), (64, tuple(SYMMETRIC)), (99, tuple(SYMMETRIC))],
)
def test_a_secret_is_for_the_hashes_that_it_is_long_enough_for(length: int, algs: tuple[str, ...]) -> None:
    """RFC 7518 section 3.2."""
    key = from_secret("s" * length)
    assert key.algs == algs
    for alg in SYMMETRIC:
        data, signature = parts(sign({}, "s" * length, alg))
        assert key.verify(alg, data, signature) is (alg in algs)


def test_a_representation_shows_no_secret() -> None:
    assert "canary" not in repr(from_secret("canary" * 6))


def private_pem(key: Any) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


NO_PEMS = {
    "nothing": ("", "is no public key in PEM"),
    "a text": ("canary", "is no public key in PEM"),
    "not ASCII": ("-----BEGIN PUBLIC KEY-----\nä\n-----END PUBLIC KEY-----", "is no public key in PEM"),
    "a private key": (private_pem(RSA.private), "holds a private key"),
    "a short RSA key": (rsa_pair(1024).public, "is an RSA key of 1024 bits: 2048 to 8192 are taken"),
    "another curve": (public_pem(ec.generate_private_key(ec.SECP521R1())), "must be an RSA, P-256, P-384 or Ed25519"),
    "a bitcoin key": (public_pem(ec.generate_private_key(ec.SECP256K1())), "must be an RSA, P-256, P-384 or Ed25519"),
    "Ed448": (public_pem(ed448.Ed448PrivateKey.generate()), "must be an RSA, P-256, P-384 or Ed25519 key"),
    "cut": (RSA.public[:100], "is no public key in PEM"),
}


@pytest.mark.parametrize("case", NO_PEMS)
def test_what_is_no_key_is_told_why(case: str) -> None:
    text, expected = NO_PEMS[case]
    with pytest.raises(InvalidClientKey, match=expected) as caught:
        read_pem(text)
    assert "canary" not in str(caught.value)


NO_JWKS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "kty must be RSA, EC or OKP"),
    "a symmetric key": ({"kty": "oct", "k": "canary"}, "holds a private key"),
    "a kty that is none": ({"kty": ["RSA"]}, "kty must be"),
    "a private key": ({**EC.jwk, "d": "canary"}, "holds a private key"),
    "for encryption": ({**EC.jwk, "use": "enc"}, "is not for signatures"),
    "to sign": ({**EC.jwk, "key_ops": ["sign"]}, "is not for signatures"),
    "operations that are none": ({**EC.jwk, "key_ops": 5}, "is not for signatures"),
    "another algorithm": ({**EC.jwk, "alg": "RS256"}, "alg must be ES256"),
    "an algorithm that is none": ({**RSA.jwk, "alg": ["RS256"]}, "alg must be RS256 or PS256"),
    "a number for a kid": ({**EC.jwk, "kid": 5}, "kid must be a string"),
    "an empty kid": ({**EC.jwk, "kid": ""}, "kid must be a string"),
    "no coordinates": ({"kty": "EC", "crv": "P-256"}, "cannot be read as a JWK"),
    "another curve": ({**EC.jwk, "crv": "P-384"}, "cannot be read as a JWK"),
    "off the curve": ({**EC.jwk, "y": EC.jwk["x"]}, "cannot be read as a JWK"),
    "numbers for texts": ({**EC.jwk, "x": 5}, "cannot be read as a JWK"),
    "no modulus": ({"kty": "RSA", "e": "AQAB"}, "cannot be read as a JWK"),
    "an even exponent": ({**RSA.jwk, "e": "Ag"}, "cannot be read as a JWK"),
    "a short RSA key": (rsa_pair(1024).jwk, "is an RSA key of 1024 bits"),
    "a short Ed25519 key": ({**ED.jwk, "x": "AA"}, "cannot be read as a JWK"),
    "X25519": ({**ED.jwk, "crv": "X25519"}, "cannot be read as a JWK"),
}


@pytest.mark.parametrize("case", NO_JWKS)
def test_what_is_no_jwk_is_told_why(case: str) -> None:
    jwk, expected = NO_JWKS[case]
    with pytest.raises(InvalidClientKey, match=expected) as caught:
        read_jwk(jwk)
    assert "canary" not in str(caught.value)


def test_an_alg_narrows_what_a_jwk_is_for() -> None:
    assert read_jwk({**RSA.jwk, "alg": "PS256", "kid": "1", "use": "sig", "key_ops": ["verify"]}).algs == ("PS256",)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [("s" * 31, "at least 32 bytes"), (RSA.public, "is the text of a PEM"), (private_pem(RSA.private), "is the text")],
)
def test_what_is_no_secret_for_an_hmac_is_told_why(secret: str, expected: str) -> None:
    with pytest.raises(InvalidClientKey, match=expected):
        from_secret(secret)


def test_larger_keys_cost_more() -> None:
    large = ClientKey(rsa.generate_private_key(65537, 3072).public_key(), ("RS256",))
    assert large.cost > read_pem(RSA.public).cost > 0
    assert read_pem(ED.public).cost == 0
