"""core.jose.algorithms: the tables agree with each other and with RFC 7518."""

from typing import get_args

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

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
