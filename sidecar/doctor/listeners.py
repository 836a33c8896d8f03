"""The addresses to listen on: whether they can be bound, or whether a running sidecar has them."""

import asyncio
import errno
import http.client
import json
import re
import ssl
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sidecar.config.settings import Address, Settings
from sidecar.core.oauth.endpoint_paths import METADATA
from sidecar.doctor.findings import Finding, bad, doubtful, good
from sidecar.runtime.sockets import binding_fault

_MOST: Final = 4 * 1024 * 1024  # bytes of an answer
_VERSION: Final = re.compile(r'^sidecar_build_info\{[^}]*version="([^"]{1,40})"', re.MULTILINE)
_HASH: Final = re.compile(r"^sidecar_config_hash ([0-9.e+]{1,30})$", re.MULTILINE)


class Running(NamedTuple):
    """A sidecar that runs: its version, what it says about itself (`/readyz`), and the hash of its configuration."""

    version: str
    checks: dict[str, str]
    digest: int


async def look(settings: Settings, *, patience: float) -> Iterable[Finding]:
    """Both addresses."""
    public, admin = settings.listen.address, settings.admin.listen
    faults = [await asyncio.to_thread(binding_fault, each) for each in (public, admin)]
    taken = [fault is not None and fault.errno == errno.EADDRINUSE for fault in faults]
    running, issuer = await asyncio.gather(
        asyncio.to_thread(lambda: running_at(admin, patience / 3) if taken[1] else None),
        asyncio.to_thread(lambda: issuer_at(settings, patience / 3) if taken[0] else ""),
    )
    return [
        public_finding(settings, faults[0], issuer, running),
        *admin_findings(settings, faults[1], running),
    ]


def public_finding(settings: Settings, fault: OSError | None, issuer: str, running: Running | None) -> Finding:
    """`issuer` is that of the sidecar which answers at the address; empty when none does."""
    address = settings.listen.address
    check = f"listen {address}"
    if fault is None or fault.errno != errno.EADDRINUSE:
        return _unused(check, "listen", address, fault)
    if issuer == settings.tokens.issuer or (running is not None and not issuer):
        return good(check, "in use by a running sidecar")
    who = f"a sidecar for {issuer}" if issuer else "another process"
    return _taken(check, "listen", address, who)


def admin_findings(settings: Settings, fault: OSError | None, running: Running | None) -> list[Finding]:
    """The admin address, and the sidecar that runs there."""
    address = settings.admin.listen
    check = f"admin.listen {address}"
    if fault is None or fault.errno != errno.EADDRINUSE:
        return [_unused(check, "admin.listen", address, fault)]
    if running is None:
        return [_taken(check, "admin.listen", address, "another process")]
    return [good(check, f"in use by a running sidecar ({running.version})"), _state(running, settings)]


def _state(running: Running, settings: Settings) -> Finding:
    check = "running sidecar"
    faults = {name: text for name, text in running.checks.items() if text != "ok"}
    if faults:
        told = "; ".join(f"{name}: {text}" for name, text in faults.items())
        if faults.keys() == {"draining"}:
            return doubtful(check, "it is going away", "start the next one, unless it is about to start by itself")
        return bad(check, f"it says {told}", "see the other findings, and its log")
    if settings.digest not in (0, running.digest):
        return doubtful(
            check, "ready, with another configuration than this file", f"sidecar reload --config {settings.path}"
        )
    return good(check, "ready, with this configuration")


def _unused(check: str, field: str, address: Address, fault: OSError | None) -> Finding:
    if fault is None:
        return good(check, "free" if address.port else "the system chooses a free port")
    if fault.errno in (errno.EACCES, errno.EPERM):
        remedy = (
            f"choose a port from 1024 on in {field}, or allow it (AmbientCapabilities=CAP_NET_BIND_SERVICE of systemd)"
        )
    elif fault.errno == errno.EADDRNOTAVAIL:
        remedy = f"correct {field}: it must be an address of this machine (ip address), or 0.0.0.0"
    else:
        remedy = f"correct {field}"
    return bad(check, f"cannot listen there: {fault.strerror or fault}", remedy)


def _taken(check: str, field: str, address: Address, who: str) -> Finding:
    remedy = f"stop it (ss -ltnp 'sport = :{address.port}' shows it), or choose another port in {field}"
    return bad(check, f"in use by {who}", remedy)


def running_at(address: Address, patience: float) -> Running | None:
    """The sidecar whose admin listener is at the address, or `None` when something else answers, or nothing."""
    ready = _get(address, "/readyz", patience)
    exposition = _get(address, "/metrics", patience) if ready else ""
    version = _VERSION.search(exposition)
    if version is None:
        return None
    digest = _HASH.search(exposition)
    return Running(version[1], _checks(ready), int(float(digest[1])) if digest else 0)


def _checks(text: str) -> dict[str, str]:
    checks = _members(text).get("checks")
    if not isinstance(checks, dict) or not all(isinstance(each, str) for each in checks.values()):
        return {"readyz": "its answer cannot be read"}
    return {str(name): _line(each) for name, each in checks.items()}


def issuer_at(settings: Settings, patience: float) -> str:
    """The issuer of the sidecar whose public listener is at the address, or empty when something else answers, or nothing."""
    issuer = _members(_get(settings.listen.address, METADATA, patience, secure=settings.tls is not None)).get("issuer")
    return _line(issuer) if isinstance(issuer, str) else ""


def _members(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:500]


def _get(address: Address, path: str, patience: float, *, secure: bool = False) -> str:
    """The body of an answer, whatever its status; empty without one. Certificates are not checked: the request has no secret,
    and the answer only tells who is there."""
    host, port = address.nearby
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = (
        http.client.HTTPSConnection(host, port, timeout=patience, context=context)
        if secure
        else http.client.HTTPConnection(host, port, timeout=patience)
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().read(_MOST).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
