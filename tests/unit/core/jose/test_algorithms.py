"""core.jose.algorithms: the tables agree with each other and with RFC 7518."""

import hashlib
import hmac
from typing import get_args

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jose.algorithms import (
    ALGORITHMS,
    ASYMMETRIC,
    LEAST_SECRET_BYTES,
    SECRET_BYTES,
    SYMMETRIC,
    Alg,
    AsymmetricAlg,
    SymmetricAlg,
    algorithms_of,
    keyed_hmac,
    signer,
)


def test_each_name_has_an_algorithm_and_each_algorithm_a_name() -> None:
    assert get_args(SymmetricAlg) == tuple(SYMMETRIC)
    assert get_args(AsymmetricAlg) == tuple(ASYMMETRIC)
    assert get_args(Alg) == tuple(ALGORITHMS)


@pytest.mark.parametrize("alg", SYMMETRIC)
def test_a_secret_is_at_least_as_long_as_the_hash(alg: str) -> None:
    """RFC 7518 section 3.2."""
    assert SECRET_BYTES[alg] == int(alg.removeprefix("HS")) // 8 == len(SYMMETRIC[alg].sign(b"data", b"k" * 64))
    assert SECRET_BYTES[alg] >= LEAST_SECRET_BYTES


@pytest.mark.parametrize(
    ("private", "algs"),
    [
        (rsa.generate_private_key(65537, 2048), ("RS256", "PS256")),
        (ec.generate_private_key(ec.SECP256R1()), ("ES256",)),
        (ec.generate_private_key(ec.SECP384R1()), ("ES384",)),
        (ed25519.Ed25519PrivateKey.generate(), ("EdDSA",)),
        (ec.generate_private_key(ec.SECP256K1()), ()),
        (ec.generate_private_key(ec.SECP521R1()), ()),
        (ed448.Ed448PrivateKey.generate(), ()),
    ],
)
def test_the_kind_of_a_public_key_decides_its_algorithms(private: rsa.RSAPrivateKey, algs: tuple[str, ...]) -> None:
    public = private.public_key()
    assert algorithms_of(public) == algs
    assert algorithms_of(private) == (), "a private key verifies nothing"
    for alg in algs:
        assert ASYMMETRIC[alg].verify(b"data", public, ASYMMETRIC[alg].sign(b"data", private))


@given(st.binary(max_size=200), st.lists(st.binary(max_size=100), max_size=3))
def test_a_keyed_hmac_is_the_standard_librarys_each_time(key: bytes, data: list[bytes]) -> None:
    """The key may be longer than a block of the hash; no text leaves a trace in the next HMAC."""
    keyed = keyed_hmac(key, hashes.SHA256())
    assert [keyed(each) for each in data] == [hmac.digest(key, each, hashlib.sha256) for each in data]


@pytest.mark.parametrize(("alg", "curve", "size"), [("ES256", ec.SECP256R1(), 64), ("ES384", ec.SECP384R1(), 96)])
def test_both_numbers_of_a_signature_have_their_full_size(alg: str, curve: ec.EllipticCurve, size: int) -> None:
    """RFC 7518 section 3.4: also one that begins with zeros, as one in 128 signatures has."""
    key = ec.generate_private_key(curve)
    sign = signer(alg, key)
    for number in range(600):
        data = b"%d" % number
        signature = sign(data)
        assert len(signature) == size
        if not (signature[0] and signature[size // 2]):
            assert ASYMMETRIC[alg].verify(data, key.public_key(), signature)
    assert ASYMMETRIC[alg].verify(data, key.public_key(), signature)
