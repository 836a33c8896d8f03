"""The settings: what is accepted, what is refused, and how a fault reads."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic_core import PydanticCustomError

from sidecar.config.load import SettingsError, load
from sidecar.config.settings import Address, Settings
from sidecar.config.values import parse_address, parse_duration, parse_size
from sidecar.core.oauth.secrets import hash_secret
from sidecar.core.oauth.users import hash_password
from sidecar.core.throttling import Rate
from tests.support.assertions import ec_pair, rsa_pair
from tests.support.certificates import Authority

KEY = "0123456789abcdef" * 2
MINIMAL: dict[str, Any] = {
    "upstream": {"url": "http://127.0.0.1:3080"},
    "tokens": {"issuer": "i", "audience": "a", "signing_keys": [{"kid": "1", "alg": "HS256", "secret": KEY}]},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sidecar.yaml"


def settings_of(file: Path, document: Any) -> Settings:
    file.write_text(yaml.safe_dump(document))
    return load(file)


def faults_of(file: Path, document: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings_of(file, document)
    return [str(fault) for fault in caught.value.faults]


def changed(**sections: Any) -> dict[str, Any]:
    """The minimal document with keys set: `tokens__issuer="x"` sets `tokens.issuer`."""
    document = copy.deepcopy(MINIMAL)
    for name, value in sections.items():
        *path, last = name.split("__")
        place = document
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return document


DURATIONS = {"500ms": 0.5, "1s": 1, "15m": 900, "1.5h": 5400, "14d": 1209600, "0s": 0}
NO_DURATIONS = ["", "5", 5, None, True, "5 s", "-5s", "5S", "1e3s", "s", "5sec", "1h30m", "٣s", "inf", [], "5s\n"]


@pytest.mark.parametrize("text", DURATIONS)
def test_durations(text: str) -> None:
    assert parse_duration(text) == DURATIONS[text]


@pytest.mark.parametrize("value", NO_DURATIONS)
def test_what_is_no_duration_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="30s"):
        parse_duration(value)


SIZES = {"0B": 0, "512B": 512, "64KiB": 65536, "10MiB": 10 * 1024**2, "1GiB": 1024**3}
NO_SIZES = ["", "5", 5, None, "5KB", "5k", "-1B", "1.5KiB", "5 KiB", "KiB", True]


@pytest.mark.parametrize("text", SIZES)
def test_sizes(text: str) -> None:
    assert parse_size(text) == SIZES[text]


@pytest.mark.parametrize("value", NO_SIZES)
def test_what_is_no_size_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="64KiB"):
        parse_size(value)


ADDRESSES = {
    "0.0.0.0:3030": Address("0.0.0.0", 3030),
    "[::1]:0": Address("::1", 0),
    "localhost:65535": Address("localhost", 65535),
}
NO_ADDRESSES = ["", "3030", 3030, ":3030", "h:", "h:65536", "h:-1", "::1:80", "[::1]", "h:80x", "[h]:1", None, "h:٣"]


@pytest.mark.parametrize("text", ADDRESSES)
def test_addresses(text: str) -> None:
    assert parse_address(text) == ADDRESSES[text]
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("value", NO_ADDRESSES)
def test_what_is_no_address_is_told_how_to_write_one(value: object) -> None:
    with pytest.raises(PydanticCustomError, match="HOST:PORT"):
        parse_address(value)


def test_the_smallest_file_has_safe_defaults(file: Path) -> None:
    settings = settings_of(file, MINIMAL)
    assert str(settings.listen.address) == "0.0.0.0:3030"
    assert str(settings.admin.listen) == "127.0.0.1:9464"
    assert settings.store.url.get_secret_value() == "memory://"
    assert (settings.store.max_staleness, settings.tokens.leeway, settings.tokens.access_token_ttl) == (5, 0, 1800)
    assert (settings.timeouts.request_header, settings.timeouts.idle) == (10, 75)
    assert settings.trusted_proxies == ()
    assert settings.proxy_headers == ()


def test_settings_cannot_be_changed(file: Path) -> None:
    settings = settings_of(file, MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        settings.workers = 2  # type: ignore[misc]


CLIENT = {"client_id": "c", "client_secret": "s"}
HASHES = [hash_secret(f"s{number}", bytes(16), "sha256") for number in range(3)]
PAIR = ec_pair()
PEM = PAIR.public
PUBLIC_CLIENT = {"client_id": "c", "token_endpoint_auth_method": "none", "grant_types": ["refresh_token"]}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": (changed(upstraem={}), "upstraem: unknown key; did you mean upstream?"),
    "an unknown key below": (changed(upstream__uri="x"), "upstream.uri: unknown key; did you mean url?"),
    "an unknown key in a list": (
        changed(clients=[{**CLIENT, "roels": []}]), "clients[0].roels: unknown key; did you mean roles?",
    ),
    "a strange key": (changed(store__zzz=1), "store.zzz: unknown key; known here: url"),
    "a missing section": ({"tokens": MINIMAL["tokens"]}, "upstream: is required"),
    "a section that is none": (changed(admin="x"), "admin: must be a section with keys"),
    "an empty section": (changed(store=None), "store: must be a section with keys"),
    "a list that is none": (changed(clients="x"), "clients: must be a list"),
    "a number for a text": (changed(tokens__audience=5), "tokens.audience: must be a string; put quotes"),
    "a text for a number": (changed(workers="2"), "workers: "),
    "a truth for a number": (changed(workers=True), "workers: "),
    "no worker": (changed(workers=0), "workers: "),
    "workers without a shared store": (changed(workers=2), "workers: more than one worker needs a store they share"),
    "a number for a duration": (changed(timeouts__idle=75), "timeouts.idle: write a duration with its unit"),
    "no time at all": (changed(timeouts__idle="0s"), "timeouts.idle: must be more than zero"),
    "a token for two days": (changed(tokens__access_token_ttl="48h"), "tokens.access_token_ttl: must be at most 24h"),
    "a token for no time": (changed(tokens__access_token_ttl="0s"), "tokens.access_token_ttl: must be a whole"),
    "half a second": (changed(tokens__access_token_ttl="1500ms"), "tokens.access_token_ttl: must be a whole"),
    "much leeway": (changed(tokens__leeway="31s"), "tokens.leeway: must be at most 30s"),
    "no key": (changed(tokens__signing_keys=[]), "tokens.signing_keys: name at least one"),
    "a short secret": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "HS256", "secret": KEY[1:]}]),
        "tokens.signing_keys[0].secret: must be at least 32 bytes long",
    ),
    "a short secret for HS512": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "HS512", "secret": KEY}]),
        "tokens.signing_keys[0].secret: must be at least 64 bytes long",
    ),
    "a public key for a secret": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "HS256", "secret": f"-----BEGIN PUBLIC KEY-----\n{KEY}"
                                       "\n-----END PUBLIC KEY-----"}]),
        "tokens.signing_keys[0].secret: is the text of a PEM",
    ),
    "no algorithm": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "none", "secret": KEY}]),
        "tokens.signing_keys[0].alg: must be one of 'HS256'",
    ),
    "a kid twice": (
        changed(tokens__signing_keys=[{"kid": "1", "alg": "HS256", "secret": KEY}] * 2),
        "tokens.signing_keys[1].kid: is the same as tokens.signing_keys[0].kid",
    ),
    "an issuer with a quote": (changed(tokens__issuer='a"b'), "tokens.issuer: use printable ASCII"),
    "an empty issuer": (changed(tokens__issuer=""), "tokens.issuer: use printable ASCII"),
    "a client twice": (changed(clients=[CLIENT, CLIENT]), "clients[1].client_id: is the same as clients[0].client_id"),
    "no secret": (changed(clients=[{"client_id": "c"}]), "clients[0]: give exactly one of client_secret"),
    "two secrets": (
        changed(clients=[{**CLIENT, "client_secret_hash": hash_secret("s", bytes(16), "sha256")}]),
        "clients[0]: give exactly one of client_secret",
    ),
    "an empty secret": (changed(clients=[{"client_id": "c", "client_secret": ""}]), "clients[0].client_secret: must not"),
    "a secret for a hash": (
        changed(clients=[{"client_id": "c", "client_secret_hash": "canary"}]),
        "clients[0].client_secret_hash: is not a secret hash",
    ),
    "three secrets": (
        changed(clients=[{"client_id": "c", "client_secret_hashes": [HASHES[0], HASHES[1], HASHES[2]]}]),
        "clients[0].client_secret_hashes: name one or two",
    ),
    "no secret in a list": (
        changed(clients=[{"client_id": "c", "client_secret_hashes": []}]), "clients[0].client_secret_hashes: name one or two",
    ),
    "the same secret twice": (
        changed(clients=[{"client_id": "c", "client_secret_hashes": HASHES[:1] * 2}]),
        "clients[0].client_secret_hashes: name different ones",
    ),
    "a secret for a hash in a list": (
        changed(clients=[{"client_id": "c", "client_secret_hashes": [HASHES[0], "canary"]}]),
        "clients[0].client_secret_hashes[1]: is not a secret hash",
    ),
    "a hash and a list": (
        changed(clients=[{"client_id": "c", "client_secret_hash": HASHES[0], "client_secret_hashes": HASHES[:2]}]),
        "clients[0]: give exactly one of client_secret, client_secret_hash, client_secret_hashes",
    ),
    "a name with a line feed": (changed(clients=[{**CLIENT, "client_name": "a\nb"}]), "clients[0].client_name: use printable"),
    "an unknown method": (
        changed(clients=[{**CLIENT, "token_endpoint_auth_method": "tls_client_auth"}]),
        "clients[0].token_endpoint_auth_method: must be one of 'client_secret_basic'",
    ),
    "a public client with a secret": (
        changed(clients=[{**CLIENT, "token_endpoint_auth_method": "none", "grant_types": ["refresh_token"]}]),
        "clients[0].token_endpoint_auth_method: a public client (none) has no client_secret",
    ),
    "a public client for itself": (
        changed(clients=[{"client_id": "c", "token_endpoint_auth_method": "none"}]),
        "clients[0].token_endpoint_auth_method: a public client (none) proves nothing, so it cannot have client_credentials",
    ),
    "a public client that asks about tokens": (
        changed(clients=[{**PUBLIC_CLIENT, "introspect": True}]), "clients[0].introspect: a public client may not ask",
    ),
    "a public client with a key": (
        changed(clients=[{**PUBLIC_CLIENT, "public_key": PEM}]),
        "clients[0].token_endpoint_auth_method: a public client (none) has no public_key",
    ),
    "a key method without a key": (
        changed(clients=[{**CLIENT, "token_endpoint_auth_method": "private_key_jwt"}]),
        "clients[0].token_endpoint_auth_method: private_key_jwt needs the client's public_key or jwks",
    ),
    "a secret beside a pinned key": (
        changed(clients=[{**CLIENT, "public_key": PEM, "token_endpoint_auth_method": "private_key_jwt"}]),
        "clients[0].token_endpoint_auth_method: client_secret has no use with private_key_jwt",
    ),
    "a key beside a pinned secret": (
        changed(clients=[{**CLIENT, "public_key": PEM, "token_endpoint_auth_method": "client_secret_basic"}]),
        "clients[0].token_endpoint_auth_method: public_key has no use with client_secret_basic",
    ),
    "a secret method without a secret": (
        changed(clients=[{"client_id": "c", "public_key": PEM, "token_endpoint_auth_method": "client_secret_post"}]),
        "clients[0].token_endpoint_auth_method: client_secret_post needs client_secret, client_secret_hash",
    ),
    "an HMAC by a hash": (
        changed(clients=[{"client_id": "c", "client_secret_hash": HASHES[0], "token_endpoint_auth_method": "client_secret_jwt"}]),
        "clients[0].token_endpoint_auth_method: client_secret_jwt needs client_secret itself: a hash cannot check an HMAC",
    ),
    "an HMAC by a short secret": (
        changed(clients=[{"client_id": "c", "client_secret": "canary", "token_endpoint_auth_method": "client_secret_jwt"}]),
        "clients[0].token_endpoint_auth_method: client_secret must be at least 32 bytes long",
    ),
    "a key that is none": (
        changed(clients=[{"client_id": "c", "public_key": "canary"}]), "clients[0].public_key[0]: is no public key in PEM",
    ),
    "no public key": (changed(clients=[{"client_id": "c", "public_key": []}]), "clients[0].public_key: name at least one"),
    "a short RSA key": (
        changed(clients=[{"client_id": "c", "public_key": [PEM, rsa_pair(1024).public]}]),
        "clients[0].public_key[1]: is an RSA key of 1024 bits: 2048 to 8192 are taken",
    ),
    "a private JWK": (
        changed(clients=[{"client_id": "c", "jwks": {"keys": [{**PAIR.jwk, "d": "canary"}]}}]),
        "clients[0].jwks.keys[0]: holds a private key",
    ),
    "a JWKS without keys": (changed(clients=[{"client_id": "c", "jwks": {}}]), "clients[0].jwks.keys: is required"),
    "no JWK": (changed(clients=[{"client_id": "c", "jwks": {"keys": []}}]), "clients[0].jwks.keys: name at least one"),
    "a JWK's kid twice": (
        changed(clients=[{"client_id": "c", "jwks": {"keys": [{**PAIR.jwk, "kid": "1"}] * 2}}]),
        "clients[0].jwks.keys: give each key a kid of its own",
    ),
    "no redirect URI": (
        changed(clients=[{**CLIENT, "grant_types": ["authorization_code"]}]),
        "clients[0].redirect_uris: name at least one for authorization_code, such as https://",
    ),
    "no redirect URI for two grants": (
        changed(clients=[{**CLIENT, "grant_types": ["implicit", "authorization_code"]}]),
        "clients[0].redirect_uris: name at least one for authorization_code and implicit",
    ),
    "a redirect URI twice": (
        changed(clients=[{**CLIENT, "redirect_uris": ["https://a/"] * 2}]), "clients[0].redirect_uris: name each only once",
    ),
    "a redirect URI in plain": (
        changed(clients=[{**CLIENT, "redirect_uris": ["https://a/", "http://a/"]}]),
        "clients[0].redirect_uris[1]: must be https, or http on 127.0.0.1",
    ),
    "an unknown grant": (
        changed(clients=[{**CLIENT, "grant_types": ["client_credentials", "password"]}]),
        "clients[0].grant_types[1]: must be one of 'client_credentials'",
    ),
    "a scope list": (changed(clients=[{**CLIENT, "scope": ["a"]}]), "clients[0].scope: write scopes as one string"),
    "a scope with a quote": (changed(clients=[{**CLIENT, "scope": 'a"'}]), "clients[0].scope: write scopes as one"),
    "a client id with a space at its end": (changed(clients=[{**CLIENT, "client_id": "c "}]), "clients[0].client_id: use"),
    "a client id with a line feed": (changed(clients=[{**CLIENT, "client_id": "a\nb"}]), "clients[0].client_id: use"),
    "a role with a comma": (changed(clients=[{**CLIENT, "roles": ["a,b"]}]), "clients[0].roles[0]: must not hold a comma"),
    "an upstream without scheme": (changed(upstream__url="127.0.0.1:80"), "upstream.url: write an address such as"),
    "an upstream with a path": (changed(upstream__url="http://h/api"), "upstream.url: only scheme, host and port"),
    "an upstream with a password": (changed(upstream__url="http://u:canary@h"), "upstream.url: only scheme, host"),
    "an upstream with a bad port": (changed(upstream__url="http://h:99999"), "upstream.url: the port must be"),
    "a unix socket with two slashes": (changed(upstream__url="unix://run/api.sock"), "upstream.url: write a Unix socket"),
    "ourselves": (changed(upstream__url="http://127.0.0.1:3030"), "upstream.url: is the sidecar's own listener (listen)"),
    "ourselves by name": (changed(upstream__url="http://localhost:3030"), "upstream.url: is the sidecar's own"),
    "our admin listener": (
        changed(upstream__url="http://localhost:9464"), "upstream.url: is the sidecar's own listener (admin.listen)",
    ),
    "an unknown store": (changed(store__url="mysql://u:canary@h"), "store.url: write memory://, redis://HOST"),
    "sentinel": (changed(store__url="redis+sentinel://h"), "store.url: Sentinel and Cluster are not supported yet"),
    "a store without host": (changed(store__url="redis://"), "store.url: the host is missing"),
    "a store with a bad port": (changed(store__url="redis://h:x"), "store.url: the host or port cannot be read"),
    "a database by name": (changed(store__url="redis://h/main"), "store.url: write the database as a number"),
    "a store without path": (changed(store__url="unix://"), "store.url: write the socket's path"),
    "certificates unchecked": (
        changed(store__url="rediss://h?ssl_cert_reqs=none"), "store.url: only these options may follow",
    ),
    "a store's own timeout": (changed(store__url="redis://h?socket_timeout=9"), "store.url: only these options"),
    "a relative certificate": (changed(store__url="rediss://h?ssl_ca_certs=ca.pem"), "store.url: ssl_ca_certs must be"),
    "a user named like a client": (
        changed(
            clients=[{"client_id": "anna", "client_secret": "s"}], users=[{"username": "anna", "password_hash": hash_password("long enough")}]
        ),
        "users[0].username: is the same as clients[0]",
    ),
    "users": (changed(users=[{"username": "u"}]), "users[0].password_hash: is required"),
    "a pattern without slash": (changed(routes=[{"path": "orders"}]), "routes[0].path: "),
    "a pattern with two stars that compete": (changed(routes=[{"path": "/**/a/**"}]), "routes[0].path: use ** once"),
    "a segment with two stars": (changed(routes=[{"path": "/*a*"}]), "routes[0].path: use ** once, and * once"),
    "an ambiguous pattern": (changed(routes=[{"path": "/a/../b"}]), "routes[0].path: "),
    "a method in small letters": (changed(routes=[{"path": "/", "methods": ["get"]}]), "routes[0].methods: write methods"),
    "no method": (changed(routes=[{"path": "/", "methods": []}]), "routes[0].methods: name at least one"),
    "an unknown access": (changed(routes=[{"path": "/", "access": "open"}]), "routes[0].access: must be one of 'public'"),
    "a scope on a public route": (
        changed(routes=[{"path": "/", "access": "public", "scope": "a"}]), "routes[0]: scope has no meaning",
    ),
    "a network that is none": (changed(trusted_proxies=["10.0.0.1/8"]), "trusted_proxies[0]: write a network"),
    "a proxy's header that is no name": (changed(proxy_headers=["X-A", "X canary"]), "proxy_headers[1]: write the name of a"),
    "a proxy's header without a name": (changed(proxy_headers=[""]), "proxy_headers[0]: write the name of a header"),
    "a proxy's header that is a number": (changed(proxy_headers=[5]), "proxy_headers[0]: "),
    "a proxy's header that frames": (changed(proxy_headers=["Content-Length"]), "proxy_headers[0]: leave this name out"),
    "a proxy's header that is ours": (changed(proxy_headers=["X_Auth_Roles"]), "proxy_headers[0]: leave this name out"),
    "an unknown place": (changed(credentials=["cookie"]), "credentials.places[0]: must be one of 'bearer'"),
    "no place": (changed(credentials=[]), "credentials.places: name at least one"),
    "no upstream": (changed(upstream__url=[]), "upstream.url: name at least one"),
    "a number for an upstream": (changed(upstream__url=5), "upstream.url: must be an address"),
    "one of several upstreams": (changed(upstream__url=["http://h", "h"]), "upstream.url: write an address such as"),
    "ourselves among others": (changed(upstream__url=["http://h", "http://localhost:3030"]), "upstream.url: is the sidecar's"),
    "a certificate that is not there": (changed(tls={"certificate": "none.pem", "key": __file__}), "tls.certificate: is no file"),
    "a certificate alone": (changed(tls={"certificate": __file__}), "tls.key: is required"),
    "a certificate that is none": (
        changed(tls={"certificate": __file__, "key": __file__}), "tls: certificate and key cannot be used together",
    ),
    "half a pair for the upstream": (changed(upstream__tls={"key": __file__}), "upstream.tls: certificate and key belong"),
    "a CA that is none": (changed(upstream__tls={"ca": __file__}), "upstream.tls: the CA file cannot be used"),
    "a tiny limit": (changed(limits__headers="1B"), "limits.headers: "),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_fault_has_its_path_and_says_what_would_be_right(file: Path, case: str) -> None:
    document, expected = REFUSED[case]
    faults = faults_of(file, document)
    assert [fault for fault in faults if fault.startswith(expected)], faults
    assert len(faults) == 1
    assert "canary" not in str(faults)


ACCEPTED: dict[str, dict[str, Any]] = {
    "the bare list of places": changed(credentials=["bearer", "header"]),
    "tls to redis": changed(store__url="rediss://u:p@h:1/2?ssl_ca_certs=/ca.pem"),
    "redis without a database": changed(store__url="redis://h"),
    "redis by socket": changed(store__url="unix:///run/redis.sock?db=1"),
    "workers that share": changed(workers=4, store={"url": "redis://h"}),
    "an upstream by socket": changed(upstream__url="unix:///run/api.sock"),
    "an upstream on our port elsewhere": changed(upstream__url="http://10.0.0.1:3030", listen="127.0.0.1:3030"),
    "headers of proxies": changed(proxy_headers=["X-My-Edge", "Remote_User", "X-Real-IP"]),
    "one address as a network": changed(trusted_proxies=["10.0.0.1", "fd00::/8"]),
    "a public client": changed(clients=[PUBLIC_CLIENT]),
    "a native app": changed(
        clients=[{**PUBLIC_CLIENT, "grant_types": ["authorization_code"], "redirect_uris": ["http://127.0.0.1/cb"]}]
    ),
    "two secrets": changed(clients=[{"client_id": "c", "client_secret_hashes": HASHES[:2], "introspect": True}]),
    "a key": changed(clients=[{"client_id": "c", "public_key": PEM}]),
    "two kinds of keys": changed(
        clients=[
            {
                "client_id": "c",
                "public_key": [PEM, rsa_pair().public],
                "jwks": {"keys": [PAIR.jwk]},
                "token_endpoint_auth_method": "private_key_jwt",
            }
        ]
    ),
    "a key and a secret": changed(clients=[{**CLIENT, "public_key": PEM}]),
    "a secret for an HMAC": changed(
        clients=[{"client_id": "c", "client_secret": "s" * 32, "token_endpoint_auth_method": "client_secret_jwt"}]
    ),
    "a kid like a date": changed(tokens__signing_keys=[{"kid": "2026-11", "alg": "HS256", "secret": KEY}]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(file: Path, case: str) -> None:
    assert settings_of(file, ACCEPTED[case])


def test_all_faults_come_together(file: Path) -> None:
    document = changed(
        listen="x", workers=2, upstream__url="", tokens__leeway="1h", clients=[CLIENT, {**CLIENT, "x": 1}]
    )
    paths = {fault.partition(":")[0] for fault in faults_of(file, document)}
    assert paths == {"listen", "workers", "upstream.url", "tokens.leeway", "clients[1].x", "clients[1].client_id"}


def test_no_representation_shows_a_secret(file: Path) -> None:
    document = changed(
        clients=[{"client_id": "c", "client_secret": "canary-1"}],
        store__url="redis://:canary-2@h",
        tokens__signing_keys=[{"kid": "1", "alg": "HS256", "secret": "canary-3" * 4}],
    )
    settings = settings_of(file, document)
    assert "canary" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("text", ["", "- a", "just text", "5", "null", "a: [", "a: 1\na: 2", "\t", "a: \x00"])
def test_what_is_no_configuration_is_one_fault(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert len(caught.value.faults) == 1


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


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


@pytest.mark.parametrize(
    ("text", "rate"),
    [("30/1m", Rate(30, 60)), ("1/500ms", Rate(1, 0.5)), ("5/1.5h", Rate(5, 5400)), ("off", None), (False, None)],
)
def test_a_rate_is_written_in_these_ways(file: Path, text: object, rate: Rate | None) -> None:
    assert settings_of(file, changed(throttling__failures_per_client=text)).throttling.failures_per_client == rate


@pytest.mark.parametrize(
    "text", ["30", "0/1m", "30/0s", "30/m", "-1/1m", "x/1m", "1.5/1m", "30/1m/1m", 30, 0, True, ""]
)
def test_what_is_no_rate_is_a_fault(file: Path, text: object) -> None:
    (fault,) = faults_of(file, changed(throttling__failures_per_client=text))
    assert fault.startswith("throttling.failures_per_client: write how many")


def test_off_may_be_written_without_quotes(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(changed()) + "logging:\n  admitted: off\n")
    assert load(path).logging.admitted == "off"
