"""Warnings of `sidecar check-config` about a valid configuration: likely mistakes and outdated practice.

Each warning states what to do instead. No warning changes the exit code or shows a configured secret.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509

from sidecar.config.faults import Fault, with_name
from sidecar.config.settings import Client, Settings
from sidecar.core.oauth.secrets import choose_scheme
from sidecar.core.route_advice import remarks

_SOON: Final = 14 * 86400.0  # how many seconds before an expiry the warning begins
_LONG_STALENESS: Final = 60.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def advice(settings: Settings, *, now: float, files: Iterable[Path] = ()) -> list[Fault]:
    """Return every warning. `now` is in epoch seconds. `files` are the referenced files, which may hold secrets."""
    names = {
        "clients": [client.client_id for client in settings.clients],
        "users": [user.username for user in settings.users],
    }
    found = [with_name(each, names) for look in _LOOKS for each in look(settings, now)]
    return found + list(_open_files(files))


def _clients(settings: Settings, _: float) -> Iterator[Fault]:
    if not settings.clients:
        yield Fault("clients", "is empty: nobody can get a token; name at least one, see config/sidecar.example.yaml")
    for index, client in enumerate(settings.clients):
        where = f"clients[{index}]"
        yield from _grants(where, client, has_users=bool(settings.users))
        plain = client.client_secret.get_secret_value() if client.client_secret else None
        if plain is not None and choose_scheme(plain) != "sha256":
            text = "can be guessed: it has fewer than 32 characters; make one with openssl rand -hex 32"
            yield Fault(f"{where}.client_secret", text)
        for name in client.scope:
            if "," in name:
                yield Fault(f"{where}.scope", f"{name} is one scope: separate scopes by spaces")


def _grants(where: str, client: Client, *, has_users: bool) -> Iterator[Fault]:
    grants = set(client.grant_types)
    if "implicit" in grants:
        text = "implicit shows tokens to the browser's history and to scripts: use authorization_code (RFC 9700 section 2.1.2)"
        yield Fault(f"{where}.grant_types", text)
    if {"client_credentials", "refresh_token"} <= grants:
        text = (
            "with client_credentials a client needs no refresh_token: leave that out, or give users a client of their own "
            '(RFC 6749 section 4.4.3: "A refresh token SHOULD NOT be included")'
        )
        yield Fault(f"{where}.grant_types", text)
    if grants & {"authorization_code", "implicit"} and not has_users:
        yield Fault(f"{where}.grant_types", "needs users who log in, and there are none: add them under users")


def _routes(settings: Settings, _: float) -> Iterator[Fault]:
    for index, text in remarks([route.rule for route in settings.routes]):
        yield Fault(f"routes[{index}].path", text)
    if settings.routes and settings.routes[0].path == "/**" and settings.routes[0].access == "public":
        text = "makes everything public: no request needs a token; put it last, or name what is meant, such as /health"
        yield Fault("routes[0]", text)
    granted = {name for client in settings.clients for name in client.scope}
    for index, route in enumerate(settings.routes):
        if lacking := [name for name in route.scope if name not in granted]:
            text = f"no client has {' or '.join(lacking)}, so nobody passes: add it to a client's scope, or correct it here"
            yield Fault(f"routes[{index}].scope", text)


def _tokens(settings: Settings, now: float) -> Iterator[Fault]:
    tokens = settings.tokens
    issuer = urlsplit(tokens.issuer)
    if issuer.scheme == "http" and issuer.hostname not in _LOOPBACK and settings.users:
        text = "is plain HTTP: passwords and codes of users could be read on the way; use https"
        yield Fault("tokens.issuer", text)
    secrets = {key.secret.get_secret_value(): key.kid for key in tokens.signing_keys if key.secret}
    for index, client in enumerate(settings.clients):
        if client.client_secret and (kid := secrets.get(client.client_secret.get_secret_value())):
            text = f"is also the signing key {kid}: this client could make tokens itself; give it a secret of its own"
            yield Fault(f"clients[{index}].client_secret", text)
    last = max((key.not_after or float("inf") for key in tokens.signing_keys if key.public_key is None), default=0.0)
    if last - now < _SOON:
        text = "no key may sign in 14 days from now: add the next one, see Keys in docs/operations.md"
        yield Fault("tokens.signing_keys", text)


def _listeners(settings: Settings, now: float) -> Iterator[Fault]:
    if settings.listen.address == settings.admin.listen and settings.admin.listen.port:
        yield Fault("admin.listen", "is the same as listen, so it cannot start: give it a port of its own")
    for index, network in enumerate(settings.trusted_proxies):
        if network.prefixlen == 0:
            text = "trusts everybody: any client may say who it is by X-Forwarded-For; name your proxies"
            yield Fault(f"trusted_proxies[{index}]", text)
    if settings.tls is not None:
        yield from _certificate(settings.tls.certificate, now)


def _certificate(path: Path, now: float) -> Iterator[Fault]:
    try:
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return  # it was usable a moment ago, when the settings were checked
    if ends <= now:
        yield Fault("tls.certificate", "has expired: clients refuse it; renew it")
    elif ends - now < _SOON:
        yield Fault("tls.certificate", f"expires in {int((ends - now) // 86400)} days: renew it")


def _users(settings: Settings, _: float) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, user in enumerate(settings.users):
        before = first.setdefault(user.username.casefold(), index)
        if before != index:
            text = f"differs from users[{before}].username in letter case alone: people will take one for the other"
            yield Fault(f"users[{index}].username", text)


def _store(settings: Settings, _: float) -> Iterator[Fault]:
    if settings.store.max_staleness > _LONG_STALENESS:
        text = "is over a minute: so long a revoked token may be admitted while Redis is away; 5s is the default"
        yield Fault("store.max_staleness", text)


def _open_files(files: Iterable[Path]) -> Iterator[Fault]:
    for path in sorted(set(files)):
        try:
            mode, mount = path.stat().st_mode, os.statvfs(path).f_flag
        except OSError:
            continue
        # Nobody can change modes on a read-only mount, such as a Secret of Kubernetes, which is for one container alone.
        if mode & stat.S_IROTH and not mount & os.ST_RDONLY:
            yield Fault(
                str(path), "can be read by every user of this machine: chmod 600, or 640 with a group of its own"
            )


_LOOKS: Final[tuple[Callable[[Settings, float], Iterator[Fault]], ...]] = (
    _clients,
    _users,
    _routes,
    _tokens,
    _listeners,
    _store,
)
