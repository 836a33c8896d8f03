"""OAuth client libraries nobody here wrote get a token and call the API with it, each in its own way."""

import os
from collections.abc import Iterator

import pytest
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuth2Client
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError, InvalidScopeError
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from tests.support.process import SECRET, Sidecar
from tests.support.upstream import Upstream

ID = "reporting"


@pytest.fixture(autouse=True)
def _plain_http_on_loopback() -> Iterator[None]:
    """oauthlib insists on https otherwise."""
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    yield
    del os.environ["OAUTHLIB_INSECURE_TRANSPORT"]


def check_call(upstream: Upstream) -> None:
    (received,) = upstream.take()
    assert received.values("x-auth-client-id") == [ID]
    assert received.values("authorization") == []
    assert "access_token" not in received.target


@pytest.mark.parametrize("style", ["basic", "body"])
def test_requests_oauthlib(sidecar: Sidecar, upstream: Upstream, style: str) -> None:
    with OAuth2Session(client=BackendApplicationClient(client_id=ID, scope=["orders:read"])) as session:
        how = {"auth": HTTPBasicAuth(ID, SECRET)} if style == "basic" else {
            "client_id": ID, "client_secret": SECRET, "include_client_id": True}  # fmt: skip
        token = session.fetch_token(f"{sidecar.public}/oauth/token", **how)
        assert token["token_type"] == "Bearer"
        assert token["scope"] == ["orders:read"]
        assert session.get(f"{sidecar.public}/orders").status_code == 200
    check_call(upstream)


@pytest.mark.parametrize("placement", ["auth_header", "query"])
def test_requests_oauthlib_puts_the_token_where_it_is_told(
    sidecar: Sidecar, upstream: Upstream, placement: str
) -> None:
    client = BackendApplicationClient(client_id=ID, default_token_placement=placement)
    with OAuth2Session(client=client) as session:
        session.fetch_token(f"{sidecar.public}/oauth/token", auth=HTTPBasicAuth(ID, SECRET))
        assert session.get(f"{sidecar.public}/orders?a=1").status_code == 200
    check_call(upstream)


def test_requests_oauthlib_understands_our_errors(sidecar: Sidecar) -> None:
    with OAuth2Session(client=BackendApplicationClient(client_id=ID)) as session:
        with pytest.raises(InvalidClientError):
            session.fetch_token(f"{sidecar.public}/oauth/token", auth=HTTPBasicAuth(ID, "wrong"))
        with pytest.raises(InvalidScopeError):
            session.fetch_token(f"{sidecar.public}/oauth/token", auth=HTTPBasicAuth(ID, SECRET), scope=["admin"])


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_with_requests(sidecar: Sidecar, upstream: Upstream, method: str) -> None:
    url = f"{sidecar.public}/oauth/token"
    with AuthlibSession(ID, SECRET, token_endpoint_auth_method=method, token_endpoint=url) as session:
        token = session.fetch_token(grant_type="client_credentials")
        assert token["expires_in"] == 1800
        assert session.get(f"{sidecar.public}/orders").status_code == 200
        check_call(upstream)
        assert session.revoke_token(f"{sidecar.public}/oauth/revoke", token["access_token"]).status_code == 200
        assert session.get(f"{sidecar.public}/orders").json()["reason"] == "revoked"


def test_authlib_with_httpx(sidecar: Sidecar, upstream: Upstream) -> None:
    with OAuth2Client(ID, SECRET, scope="orders:read") as client:
        token = client.fetch_token(f"{sidecar.public}/oauth/token", grant_type="client_credentials")
        assert token["scope"] == "orders:read"
        assert client.get(f"{sidecar.public}/orders").status_code == 200
    check_call(upstream)


async def test_authlib_with_asynchronous_httpx(sidecar: Sidecar, upstream: Upstream) -> None:
    async with AsyncOAuth2Client(ID, SECRET) as client:
        await client.fetch_token(f"{sidecar.public}/oauth/token", grant_type="client_credentials")
        assert (await client.get(f"{sidecar.public}/orders")).status_code == 200
        check_call(upstream)
        client.client_secret = "wrong"
        with pytest.raises(OAuthError, match="invalid_client"):
            await client.fetch_token(f"{sidecar.public}/oauth/token", grant_type="client_credentials")


def test_a_tapdata_client_sends_json_and_an_access_token_header(sidecar: Sidecar, upstream: Upstream) -> None:
    """The way of TapData's documentation: a JSON body for the token, the token in a header of its own name."""
    body = {"grant_type": "client_credentials", "client_id": ID, "client_secret": SECRET}
    answer = requests.post(f"{sidecar.public}/oauth/token", json=body, timeout=10).json()
    assert answer["token_type"] == "Bearer"
    assert isinstance(answer["expires_in"], int)
    response = requests.get(f"{sidecar.public}/orders", headers={"access_token": answer["access_token"]}, timeout=10)
    assert response.status_code == 200
    check_call(upstream)
    refused = requests.get(f"{sidecar.public}/orders", timeout=10)
    assert (refused.status_code, refused.json()["code"]) == (401, 401)
