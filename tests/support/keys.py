"""Private keys for tests: one for each asymmetric algorithm, made once per run."""

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from sidecar.core.jose.algorithms import ASYMMETRIC
from sidecar.core.jose.keys import generate_pem

PEMS = {alg: generate_pem(alg) for alg in ASYMMETRIC}
OTHER_PEMS = {alg: generate_pem(alg) for alg in ASYMMETRIC}


def public_pem(private: str) -> str:
    """The public half of a private key, both PEM."""
    key = load_pem_private_key(private.encode(), None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
