"""The section `tls`."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.certificates import Authority
from tests.support.settings import assert_refused, changed, faults_of, settings_of

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a certificate that is not there": (changed(tls={"certificate": "none.pem", "key": __file__}), "tls.certificate: is no file"),
    "a certificate alone": (changed(tls={"certificate": __file__}), "tls.key: is required"),
    "a certificate that is none": (
        changed(tls={"certificate": __file__, "key": __file__}), "tls: certificate and key cannot be used together",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    assert_refused(file, document, expected)


def test_files_are_found_beside_the_configuration(file: Path) -> None:
    pair = Authority(file.parent / "tls").issue("server", "server")
    tls = {"certificate": "tls/server.pem", "key": "tls/server.key", "client_ca": "tls/ca.pem"}
    settings = settings_of(file, changed(tls=tls))
    assert settings.tls
    assert settings.tls.certificate == pair.certificate


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(file: Path) -> None:
    pair = Authority(file.parent / "tls").issue("server", "server")
    key = load_pem_private_key(pair.key.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    pair.key.write_bytes(locked)
    (fault,) = faults_of(file, changed(tls={"certificate": "tls/server.pem", "key": "tls/server.key"}))
    assert fault.startswith("tls: certificate and key cannot be used together")
