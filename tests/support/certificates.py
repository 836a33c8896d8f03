"""Certificates for tests: a CA of our own and what it signs."""

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Pair(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A CA that keeps its files in `folder`; `ca` is its certificate."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        built = self._builder(self._name, self._key.public_key()).add_extension(constraints, critical=True)
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid: tuple[int, int] = (-1, 24)
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(hours=valid[0]))
            .not_valid_after(now + datetime.timedelta(hours=valid[1]))
        )

    def trusting(self) -> ssl.SSLContext:
        """For a client that trusts this CA alone."""
        context = ssl.create_default_context(cafile=self.ca)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # from Python 3.13 on it asks for extensions that ours lack
        return context

    def issue(
        self,
        file: str,
        common_name: str,
        *,
        host: str = "127.0.0.1",
        uri: str = "",
        valid: tuple[int, int] = (-1, 24),
    ) -> Pair:
        """A certificate for `host` and `localhost`, in `file`.pem and `file`.key; `valid` from and until so many hours from
        now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(host))]
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        built = self._builder(subject, key.public_key(), valid).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        pair = Pair(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        pair.certificate.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair
