"""The TLS contexts of connections to Redis."""

import ssl
from pathlib import Path

import pytest

from sidecar.stores.redis.tls import client_context
from tests.support.certificates import Authority


def test_connections_share_a_context_until_a_file_changes(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("client", "sidecar")
    options = {"ssl_ca_certs": str(authority.ca), "ssl_certfile": str(pair.certificate), "ssl_keyfile": str(pair.key)}
    first = client_context(options)
    assert client_context(dict(options)) is first
    authority.issue("client", "renewed")
    second = client_context(options)
    assert second is not first
    assert client_context(options) is second


def test_a_named_ca_is_the_only_one_that_is_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = client_context({"ssl_ca_certs": str(authority.ca)})
    assert context.cert_store_stats()["x509_ca"] == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_without_a_ca_those_of_the_system_are_trusted() -> None:
    context = client_context({})
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert client_context({}) is context


def test_a_key_may_be_in_the_file_of_its_certificate(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("client", "sidecar")
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    assert client_context({"ssl_certfile": str(both)})


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_files_that_cannot_be_used_are_a_fault_of_the_system(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OSError, match=r"."):
        client_context({"ssl_ca_certs": str(path)})
