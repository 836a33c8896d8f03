"""Certificates: those in the files that the configuration names, and one that a server shows."""

import ipaddress
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from sidecar.config.settings import Settings
from sidecar.core.store_address import read_store_address
from sidecar.doctor.configuration import SOON
from sidecar.doctor.findings import Finding, bad, doubtful, good

_MOST_NAMES: Final = 5
_STORE: Final = {"ssl_ca_certs": "CA", "ssl_certfile": "client certificate"}


def look(settings: Settings, now: float) -> Iterator[Finding]:
    """The files of certificates and CAs."""
    yield from _listener(settings, now)
    own = settings.upstream.tls
    if own.certificate is not None:
        yield from _of_file("client certificate for the API", own.certificate, "upstream.tls.certificate", now)
    if own.ca is not None:
        yield from _of_file("CA of the API", own.ca, "upstream.tls.ca", now, ca=True)
    options = read_store_address(settings.store.url.get_secret_value()).options
    for option, what in _STORE.items():
        if option in options:
            path, field = Path(options[option]), f"{option} in store.url"
            yield from _of_file(f"{what} for Redis", path, field, now, ca=what == "CA")


def _listener(settings: Settings, now: float) -> Iterator[Finding]:
    secure = urlsplit(settings.tokens.issuer).scheme == "https"
    if settings.tls is None:
        note = ", and tokens.issuer says https://: a proxy in front of the sidecar must speak TLS" if secure else ""
        yield good("TLS of the listener", f"off: clients speak plain HTTP to the sidecar{note}")
        return
    yield from _of_file("TLS of the listener", settings.tls.certificate, "tls.certificate", now)
    yield from _names(settings.tls.certificate, settings.tokens.issuer, secure=secure)
    if settings.tls.client_ca is not None:
        yield from _of_file("CA of clients", settings.tls.client_ca, "tls.client_ca", now, ca=True)


def _names(path: Path, issuer: str, *, secure: bool) -> Iterator[Finding]:
    check, host = "names in tls.certificate", urlsplit(issuer).hostname or ""
    if not secure:
        yield doubtful(
            check, "tokens.issuer says http://, and the listener speaks TLS", "write https:// in tokens.issuer"
        )
        return
    certificates = _read(path)
    if not certificates:
        return
    names = names_of(certificates[0])
    if covers(names, host):
        yield good(check, f"{host} of tokens.issuer is one of them")
    else:
        remedy = (
            f"get a certificate for {host}, or correct tokens.issuer; ignore this when a proxy in front has its own TLS"
        )
        yield doubtful(check, f"they do not cover {host} of tokens.issuer: {shown(names)}", remedy)


def _of_file(check: str, path: Path, field: str, now: float, *, ca: bool = False) -> Iterator[Finding]:
    certificates = _read(path)
    if not certificates:
        yield bad(
            check, f"{path} cannot be read as certificates", f"put certificates in PEM form into the file of {field}"
        )
        return
    yield validity(check, certificates, now, f"renew {field} ({path})", any_of=ca)


def _read(path: Path) -> list[x509.Certificate]:
    """Empty when the file cannot be read."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []


def validity(
    check: str, certificates: Iterable[x509.Certificate], now: float, remedy: str, *, any_of: bool = False
) -> Finding:
    """How long certificates are valid at `now` (epoch seconds): all of them, such as a chain, or with `any_of` at least one,
    such as a list of CAs."""
    chosen = max if any_of else min
    given = list(certificates)
    begin = (min if any_of else max)(each.not_valid_before_utc.timestamp() for each in given)
    end = chosen(each.not_valid_after_utc.timestamp() for each in given)
    days = math.floor((end - now) / 86400)
    if end <= now:
        return bad(check, f"expired on {_day(end)}", remedy)
    if begin > now:
        return bad(check, f"not valid before {_day(begin)}", f"correct the clock of this machine, or {remedy}")
    found = f"{days} days left, until {_day(end)}"
    return doubtful(check, found, remedy) if days < SOON else good(check, found)


def names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return [*extension.value.get_values_for_type(x509.DNSName), *map(str, addresses)]


def covers(names: Iterable[str], host: str) -> bool:
    """Whether one of the names is that of the host (RFC 9525 section 6.3: `*` stands for the whole first label only)."""
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        wanted = host.lower().rstrip(".")
        _, _, parent = wanted.partition(".")
        return any(name.lower() in (wanted, f"*.{parent}") for name in names)
    return address in names


def shown(names: list[str]) -> str:
    """Some names, for a text."""
    more = len(names) - _MOST_NAMES
    printable = ["".join(letter if letter.isprintable() else "?" for letter in name) for name in names[:_MOST_NAMES]]
    return ", ".join(printable) + (f" and {more} more" if more > 0 else "") if names else "it names none"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
