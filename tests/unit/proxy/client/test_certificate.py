"""proxy.client.certificate: what a client's certificate says, for the API."""

import hashlib
import ssl
from pathlib import Path

import pytest

from sidecar.proxy.client.certificate import forwarded_certificate
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def der(path: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def test_without_a_certificate_there_is_nothing_to_say() -> None:
    assert forwarded_certificate(None) == forwarded_certificate(b"") == b""


def test_hash_and_subject(authority: Authority) -> None:
    data = der(authority.issue("plain", "client one").certificate)
    text = forwarded_certificate(data).decode()
    assert text.startswith(f'Hash={hashlib.sha256(data).hexdigest()};Subject="CN=client one"')


def test_a_uri_is_named(authority: Authority) -> None:
    data = der(authority.issue("spiffe", "x", uri="spiffe://cluster/ns/a").certificate)
    assert forwarded_certificate(data).endswith(b";URI=spiffe://cluster/ns/a")


@pytest.mark.parametrize("name", ['a";Hash=0;Subject="b', "a\\b", "a,b", "é", "a\tb"])
def test_no_name_can_end_its_value(authority: Authority, name: str) -> None:
    text = forwarded_certificate(der(authority.issue("odd", name).certificate)).decode("ascii")
    assert text.count('"') == 2
    assert text.endswith('"')
    assert all(" " <= character <= "~" for character in text)
