"""OAuth client libraries nobody here wrote complete every grant, refresh, introspection and revocation against the real process,
with both stores: requests-oauthlib, Authlib (synchronous and asynchronous) and oauth4webapi on Node.

`test_oauth_clients.py` has the smaller things: places of a token, styles of a request.
"""

import base64
import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc7523 import ClientSecretJWT, PrivateKeyJWT
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from joserfc.jwk import ECKey
from oauthlib.oauth2 import (
    BackendApplicationClient,
    InvalidGrantError,
    MobileApplicationClient,
    WebApplicationClient,
)
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from tests.support.keys import OTHER_PEMS, PEMS, public_pem
from tests.support.people import USERNAME, Browser, users
from tests.support.process import AUDIENCE, UNTHROTTLED, Sidecar, running
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Upstream

CLIENTS = Path(__file__).parents[1] / "clients"
CALLBACK = "https://app.example.com/callback"
WEB, SECRET = "web", "web-secret"
KEYED_SECRET = "k" * 40
SCOPE = "orders:read"
REGISTERED: list[dict[str, Any]] = [
    {
        "client_id": WEB,
        "client_secret": SECRET,
        "grant_types": ["client_credentials", "authorization_code", "refresh_token"],
        "redirect_uris": [CALLBACK],
        "scope": SCOPE,
        "introspect": True,
    },
    {
        "client_id": "app",
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "redirect_uris": [CALLBACK],
        "scope": SCOPE,
    },
    {
        "client_id": "old",
        "token_endpoint_auth_method": "none",
        "grant_types": ["implicit"],
        "redirect_uris": [CALLBACK],
        "scope": SCOPE,
    },
    {
        "client_id": "signer",
        "public_key": public_pem(OTHER_PEMS["ES256"]),
        "token_endpoint_auth_method": "private_key_jwt",
        "grant_types": ["client_credentials", "refresh_token"],
        "scope": SCOPE,
        "introspect": True,
    },
    {
        "client_id": "keyed",
        "client_secret": KEYED_SECRET,
        "token_endpoint_auth_method": "client_secret_jwt",
        "grant_types": ["client_credentials"],
        "scope": SCOPE,
    },
]


class Server(NamedTuple):
    """A running sidecar; `said` is its metadata, by which clients find everything else."""

    sidecar: Sidecar
    said: dict[str, Any]

    @property
    def api(self) -> str:
        return f"{self.sidecar.public}/orders"

    def visit(self, url: str) -> str:
        """A person follows the URL, logs in and agrees; where the browser is sent then."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == self.said["authorization_endpoint"]
        browser, parameters = Browser(self.sidecar.public), dict(parse_qsl(parts.query, strict_parsing=True))
        assert browser.log_in(parameters).status == 303
        return browser.decide(parameters).location


@pytest.fixture(scope="module", params=["memory", "redis"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream
) -> Iterator[Server]:
    """At an address that is also its issuer."""
    issuer = f"http://127.0.0.1:{free_port()}"
    tokens = {
        "issuer": issuer,
        "audience": AUDIENCE,
        "signing_keys": [{"kid": "e", "alg": "ES256", "private_key": PEMS["ES256"]}],
    }
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(RedisServer()).url if request.param == "redis" else "memory://"
        sections: dict[str, Any] = {
            "listen": issuer.removeprefix("http://"),
            "store": {"url": url},
            "tokens": tokens,
            "clients": REGISTERED,
            "users": users(),
            "throttling": UNTHROTTLED,
        }
        sidecar = stack.enter_context(running(tmp_path_factory.mktemp("clients"), shared_upstream.url, **sections))
        said = requests.get(f"{issuer}/.well-known/oauth-authorization-server", timeout=10).json()
        yield Server(sidecar, said)


@pytest.fixture(autouse=True)
def _plain_http_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """oauthlib insists on https otherwise."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


def introspected(server: Server, token: str) -> dict[str, Any]:
    answer = requests.post(
        server.said["introspection_endpoint"], {"token": token}, auth=HTTPBasicAuth(WEB, SECRET), timeout=10
    )
    body: dict[str, Any] = answer.json()
    return body


# requests-oauthlib.


def revoked_by_oauthlib(session: OAuth2Session, server: Server, token: str, kind: str, auth: Any) -> None:
    """oauthlib makes the request, and the session has no method to send it."""
    url, headers, body = session._client.prepare_token_revocation_request(
        server.said["revocation_endpoint"], token, token_type_hint=kind
    )
    if auth is None:
        body += f"&client_id={session.client_id}"
    assert requests.post(url, body, headers=headers, auth=auth, timeout=10).status_code == 200


@pytest.mark.parametrize("client_id", [WEB, "app"])
def test_requests_oauthlib_with_a_person(server: Server, client_id: str) -> None:
    """Code with PKCE, refresh on its own accord, revocation; a confidential and a public client."""
    auth = HTTPBasicAuth(WEB, SECRET) if client_id == WEB else None
    who: dict[str, Any] = {"auth": auth} if auth else {"include_client_id": True}
    token_url, kept = server.said["token_endpoint"], []
    with OAuth2Session(
        client=WebApplicationClient(client_id),
        redirect_uri=CALLBACK,
        scope=[SCOPE],
        pkce="S256",
        auto_refresh_url=token_url,
        token_updater=kept.append,
        auto_refresh_kwargs={} if auth else {"client_id": client_id},
    ) as session:
        url, _ = session.authorization_url(server.said["authorization_endpoint"])
        first = dict(session.fetch_token(token_url, authorization_response=server.visit(url), **who))
        assert session.get(server.api).status_code == 200
        assert introspected(server, first["access_token"])["sub"] == USERNAME
        if auth:
            session.refresh_token(token_url, auth=auth)
        else:
            session._client._expires_at = session._client.expires_at = 1  # as if it had expired
            assert session.get(server.api, auth=auth).status_code == 200
            (refreshed,) = kept
            session.token = refreshed
        second = session.token
        assert second["refresh_token"] != first["refresh_token"]
        assert session.get(server.api).status_code == 200
        revoked_by_oauthlib(session, server, second["refresh_token"], "refresh_token", auth)
        assert session.get(server.api).status_code == 401
        with pytest.raises(InvalidGrantError):
            session.refresh_token(token_url, auth=auth, **({} if auth else {"client_id": client_id}))


def test_requests_oauthlib_by_itself(server: Server) -> None:
    """Client credentials, and the refresh token that this client has."""
    auth = HTTPBasicAuth(WEB, SECRET)
    with OAuth2Session(client=BackendApplicationClient(WEB)) as session:
        token = session.fetch_token(server.said["token_endpoint"], auth=auth)
        assert session.get(server.api).status_code == 200
        assert introspected(server, token["access_token"])["client_id"] == WEB
        session.refresh_token(server.said["token_endpoint"], token["refresh_token"], auth=auth)
        revoked_by_oauthlib(session, server, session.token["access_token"], "access_token", auth)
        assert session.get(server.api).status_code == 401


def test_requests_oauthlib_implicit(server: Server) -> None:
    with OAuth2Session(client=MobileApplicationClient("old"), redirect_uri=CALLBACK, scope=[SCOPE]) as session:
        url, _ = session.authorization_url(server.said["authorization_endpoint"])
        token = session.token_from_fragment(server.visit(url))
        assert (token["token_type"], "refresh_token" in token) == ("Bearer", False)
        assert session.get(server.api).status_code == 200


# Authlib.


@pytest.mark.parametrize("client_id", [WEB, "app"])
def test_authlib_with_a_person(server: Server, client_id: str) -> None:
    """Code with PKCE, refresh, introspection, revocation; a confidential and a public client."""
    secret, method = (SECRET, "client_secret_basic") if client_id == WEB else (None, "none")
    token_url, verifier = server.said["token_endpoint"], "v" * 43
    with AuthlibSession(
        client_id,
        secret,
        scope=SCOPE,
        redirect_uri=CALLBACK,
        token_endpoint_auth_method=method,
        code_challenge_method="S256",
        token_endpoint=token_url,
    ) as session:
        url, state = session.create_authorization_url(server.said["authorization_endpoint"], code_verifier=verifier)
        first = session.fetch_token(authorization_response=server.visit(url), state=state, code_verifier=verifier)
        assert session.get(server.api).status_code == 200
        second = session.refresh_token(token_url, first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"]
        assert session.get(server.api).status_code == 200
        if client_id == WEB:
            said = session.introspect_token(server.said["introspection_endpoint"], second["access_token"]).json()
            assert (said["active"], said["sub"]) == (True, USERNAME)
        answer = session.revoke_token(server.said["revocation_endpoint"], second["refresh_token"], "refresh_token")
        assert answer.status_code == 200
        assert session.get(server.api).status_code == 401
        assert introspected(server, second["access_token"]) == {"active": False}
        with pytest.raises(OAuthError, match="invalid_grant"):
            session.refresh_token(token_url, second["refresh_token"])


def test_authlib_implicit(server: Server) -> None:
    with AuthlibSession("old", scope=SCOPE, redirect_uri=CALLBACK, token_endpoint_auth_method="none") as session:
        url, state = session.create_authorization_url(server.said["authorization_endpoint"], response_type="token")
        session.fetch_token(authorization_response=server.visit(url), state=state)
        assert session.get(server.api).status_code == 200


@pytest.mark.parametrize("client_id", ["signer", "keyed"])
def test_authlib_by_a_signed_assertion(server: Server, client_id: str) -> None:
    """private_key_jwt and client_secret_jwt, at every endpoint that authenticates clients."""
    token_url = server.said["token_endpoint"]
    key, method = (
        (ECKey.import_key(OTHER_PEMS["ES256"]), PrivateKeyJWT(token_url, alg="ES256"))
        if client_id == "signer"
        else (KEYED_SECRET, ClientSecretJWT(token_url))
    )
    with AuthlibSession(
        client_id,
        key,
        scope=SCOPE,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
    ) as session:
        token = session.fetch_token(token_url, grant_type="client_credentials")
        assert session.get(server.api).status_code == 200
        if client_id == "signer":
            token = session.refresh_token(token_url, token["refresh_token"])
            said = session.introspect_token(server.said["introspection_endpoint"], token["access_token"])
            assert said.json()["active"] is True
        assert session.revoke_token(server.said["revocation_endpoint"], token["access_token"]).status_code == 200
        assert session.get(server.api).status_code == 401


async def test_authlib_with_a_person_asynchronously(server: Server) -> None:
    token_url, verifier = server.said["token_endpoint"], "v" * 43
    async with AsyncOAuth2Client(
        WEB, SECRET, scope=SCOPE, redirect_uri=CALLBACK, code_challenge_method="S256", token_endpoint=token_url
    ) as client:
        url, state = client.create_authorization_url(server.said["authorization_endpoint"], code_verifier=verifier)
        answer = server.visit(url)
        first = dict(await client.fetch_token(authorization_response=answer, state=state, code_verifier=verifier))
        assert (await client.get(server.api)).status_code == 200
        second = await client.refresh_token(token_url, first["refresh_token"])
        said = await client.introspect_token(server.said["introspection_endpoint"], second["access_token"])
        assert (said.json()["active"], said.json()["sub"]) == (True, USERNAME)
        revoked = await client.revoke_token(server.said["revocation_endpoint"], second["refresh_token"])
        assert (revoked.status_code, (await client.get(server.api)).status_code) == (200, 401)
        # The code again: it proves nothing, and ends what is left.
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.fetch_token(authorization_response=answer, state=state, code_verifier=verifier)


async def test_authlib_by_itself_asynchronously(server: Server) -> None:
    async with AsyncOAuth2Client(WEB, SECRET, token_endpoint=server.said["token_endpoint"]) as client:
        token = await client.fetch_token(grant_type="client_credentials")
        assert (await client.get(server.api)).status_code == 200
        await client.revoke_token(server.said["revocation_endpoint"], token["access_token"])
        assert (await client.get(server.api)).status_code == 401


# oauth4webapi.


@pytest.fixture(scope="session")
def node() -> str:
    """Node with oauth4webapi, in the version that the lock file pins. `make test` installs Node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("Node and npm are not installed")
    if not (CLIENTS / "node_modules" / "oauth4webapi").is_dir():
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=CLIENTS, check=True, timeout=120)
    return node


def test_oauth4webapi(server: Server, node: str) -> None:
    """By the metadata alone; it checks `iss` and `state`, and our tokens by RFC 9068 and the published keys."""
    key = load_pem_private_key(OTHER_PEMS["ES256"].encode(), None)
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    given = {
        "issuer": server.said["issuer"],
        "api": server.api,
        "audience": AUDIENCE,
        "callback": CALLBACK,
        "username": USERNAME,
        "web": {"client_id": WEB, "client_secret": SECRET},
        "app": "app",
        "signer": "signer",
        "keyed": {"client_id": "keyed", "client_secret": KEYED_SECRET},
        "private_key": base64.b64encode(der).decode(),
    }
    done: list[str] = []
    with subprocess.Popen(
        [node, CLIENTS / "oauth4webapi.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        print(json.dumps(given), file=process.stdin, flush=True)
        for line in process.stdout:
            message = json.loads(line)
            done = message.get("done", [])
            if "visit" in message:
                print(server.visit(message["visit"]), file=process.stdin, flush=True)
    assert process.returncode == 0
    assert done == [
        "discovery",
        "client_credentials by client_secret_basic",
        "client_credentials by client_secret_post",
        "client_credentials by private_key_jwt",
        "client_credentials by client_secret_jwt",
        "authorization_code, refresh, introspection and revocation for a confidential client",
        "authorization_code, refresh, introspection and revocation for a public client",
        "errors",
    ]
