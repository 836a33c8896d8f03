"""Keys in the real process: every algorithm end to end, rotation, and what is published."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
import yaml
from click.testing import CliRunner

from sidecar.cli import main
from sidecar.core.jose.algorithms import ASYMMETRIC, SYMMETRIC
from tests.support.keys import OTHER_PEMS, PEMS, public_pem
from tests.support.process import AUDIENCE, COMMAND, ISSUER, KEY, Sidecar, configuration, get, running
from tests.support.redis import RedisServer
from tests.support.upstream import Upstream

SECRET = "canary-" * 10
OLD = {"kid": "old", "alg": "HS256", "secret": SECRET}
NEW = {"kid": "new", "alg": "ES256", "private_key": PEMS["ES256"]}


def tokens(*keys: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"issuer": ISSUER, "audience": AUDIENCE, "signing_keys": list(keys), **fields}


def key(alg: str) -> dict[str, Any]:
    return {"kid": alg, "alg": alg} | ({"secret": SECRET} if alg in SYMMETRIC else {"private_key": PEMS[alg]})


def status(sidecar: Sidecar, token: str) -> tuple[int, str | None]:
    code, body = get(f"{sidecar.public}/orders", authorization=f"Bearer {token}")
    return code, json.loads(body).get("reason")


def document(sidecar: Sidecar, path: str) -> Any:
    return requests.get(sidecar.public + path, timeout=10).json()


@pytest.mark.parametrize("alg", [*ASYMMETRIC, *SYMMETRIC])
def test_a_token_of_every_algorithm_is_admitted_and_anybody_can_check_it(
    tmp_path: Path, shared_upstream: Upstream, alg: str
) -> None:
    """PyJWT as another server that checks our tokens by the metadata and the key set alone."""
    with running(tmp_path, shared_upstream.url, tokens=tokens(key(alg))) as sidecar:
        token = sidecar.token()
        assert jwt.get_unverified_header(token) == {"alg": alg, "typ": "at+jwt", "kid": alg}
        assert status(sidecar, token)[0] == 200
        metadata = document(sidecar, "/.well-known/oauth-authorization-server")
        assert metadata["token_endpoint"] == f"{ISSUER}/oauth/token"
        if alg in SYMMETRIC:
            assert "jwks_uri" not in metadata
            assert document(sidecar, "/oauth/jwks") == {"keys": []}
            return
        assert metadata["jwks_uri"] == f"{ISSUER}/oauth/jwks"
        keys = jwt.PyJWKClient(f"{sidecar.public}/oauth/jwks")
        found = keys.get_signing_key_from_jwt(token)
        claims = jwt.decode(token, found, [alg], audience=AUDIENCE, issuer=metadata["issuer"])
        assert claims["client_id"] == "reporting"
        forged = jwt.encode(claims, OTHER_PEMS[alg], alg, {"typ": "at+jwt", "kid": alg})
        assert status(sidecar, forged) == (401, "bad_signature")


def test_what_is_published_opens_nothing(tmp_path: Path, shared_upstream: Upstream) -> None:
    """CVE-2022-29217 and its kin, by somebody who has read the key set."""
    ours = [key("RS256"), key("ES256"), OLD]
    with running(tmp_path, shared_upstream.url, tokens=tokens(*ours)) as sidecar:
        claims = jwt.decode(sidecar.token(), options={"verify_signature": False})
        pem = public_pem(PEMS["RS256"])
        published = requests.get(sidecar.public + "/oauth/jwks", timeout=10).content
        hmac, es256 = jwt.get_algorithm_by_name("HS256"), jwt.get_algorithm_by_name("ES256")

        def made(alg: str, kid: str, sign: Any) -> str:
            parts = [{"alg": alg, "typ": "at+jwt", "kid": kid}, claims]
            text = b".".join(jwt.utils.base64url_encode(json.dumps(part).encode()) for part in parts)
            return (text + b"." + jwt.utils.base64url_encode(sign(text))).decode()

        forged = {
            "HS256 by the public key": made("HS256", "RS256", lambda text: hmac.sign(text, pem.encode())),
            "HS256 by the key set": made("HS256", "RS256", lambda text: hmac.sign(text, published)),
            "HS256 by the public key, for the symmetric one": made("HS256", "old", lambda text: hmac.sign(text, pem.encode())),
            "none": made("none", "RS256", lambda text: b"x"),
            "the id of another": made("ES256", "RS256", lambda text: es256.sign(text, es256.prepare_key(OTHER_PEMS["ES256"]))),
        }  # fmt: skip
        for name, token in forged.items():
            assert status(sidecar, token) == (401, "bad_signature"), name
        for where in ("/oauth/jwks", "/.well-known/oauth-authorization-server"):
            assert SECRET not in requests.get(sidecar.public + where, timeout=10).text
        assert [each["kid"] for each in document(sidecar, "/oauth/jwks")["keys"]] == ["RS256", "ES256"]


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_a_key_is_rotated_while_two_replicas_serve(
    tmp_path: Path, shared_upstream: Upstream, redis_server: RedisServer
) -> None:
    """New key beside the old, then before it, then alone: a token is refused only after its key has left."""
    store = {"url": redis_server.url}

    def replica(name: str, *keys: dict[str, Any]) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        return running(folder, shared_upstream.url, store=store, tokens=tokens(*keys))

    with replica("one", OLD, NEW) as one, replica("two", NEW, OLD) as two:
        by_old, by_new = one.token(), two.token()
        assert [jwt.get_unverified_header(token)["kid"] for token in (by_old, by_new)] == ["old", "new"]
        assert {status(each, token) for each in (one, two) for token in (by_old, by_new)} == {(200, None)}
        assert document(one, "/oauth/jwks") == document(two, "/oauth/jwks")
    with replica("three", NEW) as three:
        assert status(three, by_new) == (200, None)
        assert status(three, by_old) == (401, "unknown_key")


def test_a_start_without_a_key_that_may_sign_is_refused(tmp_path: Path) -> None:
    """Exit code 2, and the path of the fault."""
    path = tmp_path / "sidecar.yaml"
    keys = tokens({**OLD, "not_after": "2020-01-01"}, {**NEW, "not_before": "2120-01-01"})
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", tokens=keys)))
    done = subprocess.run(
        [*COMMAND, "serve", "--config", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, "tokens.signing_keys: no key may sign now" in done.stderr) == (2, True)
    assert "canary" not in done.stderr


def test_caches_are_served(sidecar: Sidecar) -> None:
    """GET, HEAD and a condition, over one connection that stays usable."""
    with requests.Session() as session:
        for path in ("/oauth/jwks", "/.well-known/oauth-authorization-server"):
            url = sidecar.public + path
            full, head = session.get(url, timeout=10), session.head(url, timeout=10)
            assert (full.status_code, head.status_code, head.content) == (200, 200, b"")
            assert head.headers["Content-Length"] == str(len(full.content))
            assert full.headers["Cache-Control"] == "public, max-age=300"
            again = session.get(url, headers={"If-None-Match": full.headers["ETag"]}, timeout=10)
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", full.headers["ETag"])
            assert "Content-Length" not in again.headers
            assert session.post(url, timeout=10).status_code == 405


def test_an_issuer_with_a_path_is_found_by_either_rule(tmp_path: Path, shared_upstream: Upstream) -> None:
    """RFC 8414 section 3 puts the well-known name first; many clients append it. The endpoints are where it says."""
    issuer = "https://issuer.example/tenant"
    said = {**tokens({"kid": "k", "alg": "HS256", "secret": KEY}), "issuer": issuer}
    with running(tmp_path, shared_upstream.url, tokens=said) as sidecar:
        name = "/.well-known/oauth-authorization-server"
        documents = [document(sidecar, path) for path in (name, f"{name}/tenant", f"/tenant{name}")]
        assert all(each == documents[0] for each in documents)
        path = documents[0]["token_endpoint"].removeprefix("https://issuer.example")
        form = {"grant_type": "client_credentials", "client_id": "reporting", "client_secret": "reporting-secret"}
        assert path == "/tenant/oauth/token"
        code, body = get(sidecar.public + path, form)
        assert (code, status(sidecar, json.loads(body)["access_token"])) == (200, (200, None))
        assert get(f"{sidecar.public}{name}/other")[0] == 401


def test_an_operator_looks_at_a_token_of_an_asymmetric_key(tmp_path: Path, shared_upstream: Upstream) -> None:
    """`sidecar tokens inspect`, also when no key may sign any more."""
    with running(tmp_path, shared_upstream.url, tokens=tokens(NEW)) as sidecar:
        token = sidecar.token()
    path = tmp_path / "sidecar.yaml"
    path.write_text(path.read_text().replace("kid: new", "kid: new\n    not_after: '2020-01-01'"))
    result = CliRunner().invoke(main, ["tokens", "inspect", "--config", str(path)], input=token)
    assert (result.exit_code, "valid (revocation not looked up)" in result.output) == (0, True)
