"""assembly.expiries: when the certificates in use expire."""

from pathlib import Path

from cryptography import x509

from sidecar.assembly.expiries import Expiries, expiry_of
from sidecar.config.settings import Settings
from tests.support.certificates import Authority
from tests.support.process import configuration


def expiry(path: Path) -> float:
    return x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc.timestamp()


def test_each_use_has_its_own(tmp_path: Path) -> None:
    ca, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    server, client = ca.issue("server", "s", valid=(-1, 48)), ca.issue("client", "c", valid=(-1, 72))
    settings = Settings.model_validate(
        configuration(
            {"url": "https://127.0.0.1:1", "tls": {"ca": str(ca.ca), "certificate": str(client.certificate), "key": str(client.key)}},
            tls={"certificate": str(server.certificate), "key": str(server.key), "client_ca": str(other.ca)},
        )
    )  # fmt: skip
    expiries = Expiries(settings)
    assert expiries.by_use() == {
        "listener": expiry(server.certificate),
        "client_ca": expiry(other.ca),
        "upstream": expiry(client.certificate),
        "upstream_ca": expiry(ca.ca),
    }
    expiries.use(Settings.model_validate(configuration("http://127.0.0.1:1")))
    assert expiries.by_use() == {}


def test_a_changed_file_counts_once_it_is_in_use(tmp_path: Path) -> None:
    """Redis is another matter: each connection to it reads the files."""
    ca = Authority(tmp_path)
    server = ca.issue("server", "s")
    store = {"url": f"rediss://127.0.0.1:1/0?ssl_ca_certs={server.certificate}"}
    section = {"certificate": str(server.certificate), "key": str(server.key)}
    settings = Settings.model_validate(configuration("http://127.0.0.1:1", tls=section, store=store))
    expiries = Expiries(settings)
    before = expiry(server.certificate)
    again = ca.issue("again", "s", valid=(-1, 700))
    server.certificate.write_bytes(again.certificate.read_bytes())
    after = expiry(server.certificate)
    assert after != before
    assert expiries.by_use() == {"listener": before, "store_ca": after}
    expiries.use_listener(settings)
    assert expiries.by_use()["listener"] == after


def test_a_file_that_is_gone_has_no_expiry(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    store = {"url": f"rediss://127.0.0.1:1/0?ssl_ca_certs={ca.ca}"}
    expiries = Expiries(Settings.model_validate(configuration("http://127.0.0.1:1", store=store)))
    assert expiries.by_use().keys() == {"store_ca"}
    ca.ca.unlink()
    assert expiries.by_use() == {}


def test_a_chain_expires_with_its_first_certificate_and_a_list_of_cas_with_its_last(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    early, late = (authority.issue(f"c{hours}", "c", valid=(-1, hours)).certificate for hours in (5, 9))
    first, last = expiry_of(early), expiry_of(late)
    assert first is not None
    assert last is not None
    assert last - first == 4 * 3600
    early.write_bytes(early.read_bytes() + late.read_bytes())
    assert (expiry_of(early), expiry_of(early, any_of=True)) == (first, last)


def test_what_is_no_certificate_has_no_expiry(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no certificate")
    assert expiry_of(tmp_path / "x") is None
    assert expiry_of(tmp_path / "none") is None
