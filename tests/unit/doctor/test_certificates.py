"""Certificates: days, names, files."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from sidecar.config.load import load
from sidecar.doctor.certificates import covers, look, names_of, shown, validity
from tests.support.certificates import Authority
from tests.support.process import ISSUER, configuration

DAY = 24
NAMES = ["api.example.com", "*.example.org", "10.0.0.1", "2001:db8::1"]


def certificates(authority: Authority, *valid: tuple[int, int]) -> list[x509.Certificate]:
    pairs = [authority.issue(f"c{number}", "c", valid=each) for number, each in enumerate(valid)]
    return [x509.load_pem_x509_certificate(pair.certificate.read_bytes()) for pair in pairs]


@pytest.mark.parametrize(
    ("valid", "any_of", "status", "found"),
    [
        ([(-1, 30 * DAY + 1)], False, "ok", "30 days left"),
        ([(-1, 13 * DAY + 1)], False, "warning", "13 days left"),
        ([(-9, -1)], False, "failed", "expired on"),
        ([(1, 9)], False, "failed", "not valid before"),
        ([(-1, 30 * DAY + 1), (-9, -1)], False, "failed", "expired on"),
        ([(-1, 30 * DAY + 1), (-9, -1)], True, "ok", "30 days left"),
        ([(-9, -1), (-9, -2)], True, "failed", "expired on"),
    ],
)
def test_days_are_counted(tmp_path: Path, valid: list[tuple[int, int]], any_of: bool, status: str, found: str) -> None:
    finding = validity("c", certificates(Authority(tmp_path), *valid), time.time(), "renew it", any_of=any_of)
    assert finding.status.value == status
    assert found in finding.found
    assert ("renew it" in finding.remedy) is (status != "ok")


@pytest.mark.parametrize("host", ["api.example.com", "API.example.com", "a.example.org", "10.0.0.1", "2001:db8:0::1"])
def test_a_host_is_covered(host: str) -> None:
    assert covers(NAMES, host)


@pytest.mark.parametrize("host", ["example.com", "a.api.example.com", "a.b.example.org", "example.org", "10.0.0.2", ""])
def test_a_host_is_not_covered(host: str) -> None:
    assert not covers(NAMES, host)


def test_names_are_those_of_the_extension_and_are_shown_in_one_line(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (one,) = certificates(authority, (-1, 1))
    assert names_of(one) == ["localhost", "127.0.0.1"]
    assert names_of(x509.load_pem_x509_certificate(authority.ca.read_bytes())) == []
    assert shown([]) == "it names none"
    assert shown(["a\n", *"bcdefg"]) == "a?, b, c, d, e and 2 more"


def found(folder: Path, **sections: Any) -> dict[str, tuple[str, str]]:
    path = folder / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration(sections.pop("upstream", "http://127.0.0.1:1"), **sections)))
    return {each.check: (each.status.value, each.found) for each in look(load(path), time.time())}


def test_without_tls_there_is_a_note(tmp_path: Path) -> None:
    assert found(tmp_path)["TLS of the listener"][0] == "ok"
    assert "a proxy in front" in found(tmp_path)["TLS of the listener"][1]


def test_the_listener_is_looked_at(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("a", "a", valid=(-1, 90 * DAY))
    tls = {"certificate": str(pair.certificate), "key": str(pair.key), "client_ca": str(authority.ca)}
    tokens = {**configuration("http://a")["tokens"], "issuer": "https://localhost"}
    seen = found(tmp_path, tls=tls, tokens=tokens)
    assert seen["names in tls.certificate"] == ("ok", "localhost of tokens.issuer is one of them")
    assert seen["CA of clients"][0] == "warning"
    assert found(tmp_path, tls=tls)["names in tls.certificate"][0] == "warning"
    tokens["issuer"] = ISSUER.replace("https", "http")
    assert "says http://" in found(tmp_path, tls=tls, tokens=tokens)["names in tls.certificate"][1]


def test_files_for_the_api_and_for_redis_are_looked_at(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("a", "a", valid=(-9, -1))
    tls = {"ca": str(authority.ca), "certificate": str(pair.certificate), "key": str(pair.key)}
    store = f"rediss://h/0?ssl_ca_certs=/none&ssl_certfile={pair.certificate}&ssl_keyfile={pair.key}"
    seen = found(tmp_path, upstream={"url": "https://127.0.0.1:1", "tls": tls}, store={"url": store})
    assert seen["client certificate for the API"][0] == "failed"
    assert seen["CA of the API"][0] == "warning"
    assert seen["client certificate for Redis"][0] == "failed"
    assert seen["CA for Redis"] == ("failed", "/none cannot be read as certificates")
