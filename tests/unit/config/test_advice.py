"""config.advice: what a valid configuration is warned of, each with its remedy; and what must stay unmentioned."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sidecar.config.advice import advice
from sidecar.config.document import secret_files
from sidecar.config.load import SettingsError, load
from sidecar.core.oauth.users import hash_password
from tests.support.certificates import Authority
from tests.support.process import configuration

NOW = 1_795_000_000.0
SECRET = "s" * 40
PASSWORD = hash_password("x")
PUBLIC = (
    Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
)
REPORTING = {"client_id": "reporting", "client_secret": SECRET, "scope": "orders:read"}
DESK = {
    "client_id": "desk",
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code"],
    "redirect_uris": ["https://desk.example/cb"],
    "scope": "orders:read",
}
ANNA = {"username": "anna", "password_hash": PASSWORD}
GOOD: dict[str, Any] = {
    "clients": [REPORTING, DESK],
    "users": [ANNA],
    "routes": [{"path": "/health", "access": "public"}, {"path": "/**", "scope": "orders:read"}],
}


def warned(folder: Path, **sections: Any) -> dict[str, str]:
    path = folder / "sidecar.yaml"
    document = configuration("http://127.0.0.1:1", **{**GOOD, **sections})
    path.write_text(yaml.safe_dump(document))
    return {each.path: each.message for each in advice(load(path), now=NOW, files=secret_files(path))}


def test_a_good_configuration_is_warned_of_nothing(tmp_path: Path) -> None:
    assert warned(tmp_path) == {}


def keys(**of_the_first: Any) -> dict[str, Any]:
    first = {"kid": "k1", "alg": "HS256", "secret": "k" * 32, **of_the_first}
    return {"issuer": "https://issuer.example", "audience": "api", "signing_keys": [first]}


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "nobody": ({"clients": [], "users": [], "routes": []}, "clients", "nobody can get a token"),
    "a short secret": ({"clients": [{**REPORTING, "client_secret": "short"}, DESK]}, "clients[0].client_secret", "(reporting)"),
    "a comma": (
        {"clients": [{**REPORTING, "scope": "orders:read,orders:write orders:read"}]}, "clients[0].scope", "by spaces",
    ),
    "no users": ({"users": []}, "clients[1].grant_types", "there are none: add them under users (desk)"),
    "both": (
        {"clients": [{**REPORTING, "grant_types": ["client_credentials", "refresh_token"]}]}, "clients[0].grant_types", "4.4.3",
    ),
    "all public": ({"routes": [{"path": "/**", "access": "public"}]}, "routes[0]", "put it last"),
    "a scope that nobody has": ({"routes": [{"path": "/a", "scope": "orders:reed"}]}, "routes[0].scope", "orders:reed"),
    "plain HTTP": ({"tokens": {**keys(), "issuer": "http://issuer.example"}}, "tokens.issuer", "use https"),
    "a reused secret": ({"tokens": keys(secret=SECRET)}, "clients[0].client_secret", "signing key k1"),
    "a key that ends": ({"tokens": keys(not_after="2026-11-20")}, "tokens.signing_keys", "add the next one"),
    "everybody trusted": ({"trusted_proxies": ["10.0.0.0/8", "0.0.0.0/0"]}, "trusted_proxies[1]", "name your proxies"),
    "one address": ({"listen": "127.0.0.1:3030", "admin": {"listen": "127.0.0.1:3030"}}, "admin.listen", "a port of its own"),
    "two Annas": ({"users": [ANNA, {**ANNA, "username": "Anna"}]}, "users[1].username", "letter case alone"),
    "stale": ({"store": {"max_staleness": "2m"}}, "store.max_staleness", "5s is the default"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_says_where_and_what_to_do(tmp_path: Path, case: str) -> None:
    sections, where, remedy = CASES[case]
    found = warned(tmp_path, **sections)
    assert list(found) == [where], found
    assert remedy in found[where]
    assert SECRET not in str(found)


@pytest.mark.parametrize(
    "sections",
    [
        {"tokens": {**keys(), "issuer": "http://127.0.0.1:3030"}},
        {"tokens": keys(not_after="2027-11-20")},
        {"trusted_proxies": ["10.0.0.0/8"]},
        {"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0"}},
    ],
)
def test_what_is_fine_is_not_mentioned(tmp_path: Path, sections: dict[str, Any]) -> None:
    assert warned(tmp_path, **sections) == {}


def test_a_file_that_everybody_can_read_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "reporting-secret"
    secret.write_text(SECRET)
    clients = [{**REPORTING, "client_secret": "${file:reporting-secret}"}]
    secret.chmod(0o644)
    assert list(warned(tmp_path, clients=clients)) == [str(secret)]
    public = tmp_path / "key.pub"
    public.write_text(PUBLIC)
    clients.append({"client_id": "warehouse", "public_key": "${file:key.pub}", "scope": "orders:read"})
    secret.chmod(stat.S_IRUSR)
    assert warned(tmp_path, clients=clients) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_file_whose_mode_nobody_can_change_is_not(tmp_path: Path) -> None:
    """A Secret of Kubernetes is mounted read-only, into one container."""
    secret = tmp_path / "reporting-secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    code = (
        "import sys, time; from pathlib import Path; from sidecar.config.advice import advice; from sidecar.config.load import load;"
        "from sidecar.config.document import secret_files; path = Path(sys.argv[1]);"
        "print([each.path for each in advice(load(path), now=time.time(), files=secret_files(path))])"
    )
    clients = [{**REPORTING, "client_secret": f"${{file:{secret}}}"}]
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", **{**GOOD, "clients": clients})))
    look = f"{sys.executable} -c '{code}' {path}"
    mount = f"mount --bind -o ro {secret} {secret} && mount -o remount,bind,ro {secret}"
    for before, found in (("true", [str(secret)]), (mount, [])):
        words = ["unshare", "--mount", "sh", "-c", f"{before} && {look}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout == f"{found}\n", done.stderr


@pytest.mark.parametrize(
    ("days", "text"), [(-20, None), (-10, "expires in 10 days"), (0, "expires in 0 days"), (2, "has expired")]
)
def test_a_certificate_that_ends_is_warned_of(tmp_path: Path, days: int, text: str | None) -> None:
    """Of one that is good for another day."""
    pair = Authority(tmp_path / "ca").issue("server", "localhost")
    path = tmp_path / "sidecar.yaml"
    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", **GOOD, tls=tls)))
    found = advice(load(path), now=time.time() + days * 86400)
    assert [each.path for each in found] == (["tls.certificate"] if text else [])
    assert text is None or text in found[0].message


def test_a_fault_names_the_entry_and_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    clients = [{**REPORTING, "client_secret": "${file:nowhere}", "scope": 1}]
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", clients=clients, tokens=keys(secret="short"))))
    with pytest.raises(SettingsError) as caught:
        load(path)
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert found["clients[0].client_secret"].endswith(f"; it was looked for in {tmp_path.resolve()} (reporting)")
    assert found["clients[0].scope"].endswith("(reporting)")
    assert found["tokens.signing_keys[0].secret"].endswith("(k1)")
