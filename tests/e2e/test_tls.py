"""TLS on both sides: to clients, and to the API."""

import contextlib
import hashlib
import select
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import Authority, Pair
from tests.support.process import SECRET, Sidecar, configuration, running
from tests.support.raw import Response, read_all, read_response
from tests.support.redis import RedisServer
from tests.support.tcp import queues_of_peer
from tests.support.tls_upstream import TlsUpstream, server_side
from tests.support.upstream import Answer, Received, Upstream
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server_pair(authority: Authority) -> Pair:
    return authority.issue("server", "server")


@pytest.fixture(scope="module")
def sections(authority: Authority, server_pair: Pair) -> dict[str, object]:
    return {
        "tls": {
            "certificate": str(server_pair.certificate),
            "key": str(server_pair.key),
            "client_ca": str(authority.ca),
        },
    }


def client_context(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def ask(sidecar: Sidecar, context: ssl.SSLContext, head: str, body: bytes = b"") -> Response:
    with (
        socket.create_connection(sidecar.address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(head.encode() + body)
        return read_response(connection)


def token_of(sidecar: Sidecar, context: ssl.SSLContext) -> str:
    form = f"grant_type=client_credentials&client_id=reporting&client_secret={SECRET}"
    head = (
        "POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(form)}\r\n\r\n"
    )
    response = ask(sidecar, context, head, form.encode())
    assert response.status == 200
    return response.body.decode().partition('"access_token": "')[2].partition('"')[0]


@pytest.fixture
def bearer(sidecar: Sidecar, authority: Authority) -> str:
    return f"Authorization: Bearer {token_of(sidecar, client_context(authority))}\r\n"


def test_requests_pass_over_tls(sidecar: Sidecar, upstream: Upstream, authority: Authority, bearer: str) -> None:
    assert sidecar.public.startswith("https://")
    body = bytes(range(256)) * 20_000
    head = f"PUT /x HTTP/1.1\r\nHost: a\r\n{bearer}Content-Length: {len(body)}\r\n\r\n"
    assert ask(sidecar, client_context(authority), head, body).status == 200
    received = upstream.take()[-1]
    assert received.body == body
    assert received.values("x-forwarded-proto") == ["https"]
    assert received.values("x-forwarded-client-cert") == []


def test_a_client_certificate_is_told_to_the_api_and_none_can_be_forged(
    sidecar: Sidecar, upstream: Upstream, authority: Authority, bearer: str
) -> None:
    pair = authority.issue("client", 'O"Hara, ä', uri="spiffe://cluster/ns/orders")
    forged = "X-Forwarded-Client-Cert: Hash=0\r\nx_forwarded_client_cert: Hash=1\r\n"
    head = f"GET /x HTTP/1.1\r\nHost: a\r\n{bearer}{forged}\r\n"
    assert ask(sidecar, client_context(authority, pair), head).status == 200
    (value,) = upstream.take()[-1].values("x-forwarded-client-cert")
    der = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).public_bytes(Encoding.DER)
    assert value == (
        f'Hash={hashlib.sha256(der).hexdigest()};Subject="CN=O%5C%22Hara%5C, %C3%A4";URI=spiffe://cluster/ns/orders'
    )
    assert ask(sidecar, client_context(authority), head).status == 200
    received = upstream.take()[-1]
    assert [name for name, _ in received.headers if "client" in name.lower() and "cert" in name.lower()] == []


def test_a_strangers_certificate_ends_the_handshake(sidecar: Sidecar, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").issue("client", "evil")
    context = client_context(authority, stranger)
    answered = 0
    with contextlib.suppress(ssl.SSLError, ConnectionError):  # with TLS 1.3 the client learns of it by reading
        answered = ask(sidecar, context, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n").status
    assert answered == 0


def test_old_versions_are_refused(sidecar: Sidecar, authority: Authority) -> None:
    context = client_context(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert ask(sidecar, context, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n").status == 401
    done = _handshake_with("-tls1_1", sidecar)
    assert "Cipher is (NONE)" in done


def _handshake_with(option: str, sidecar: Sidecar) -> str:
    host, port = sidecar.address
    command = ["openssl", "s_client", option, "-cipher", "ALL@SECLEVEL=0", "-connect", f"{host}:{port}"]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False).stdout


def test_plain_http_and_a_handshake_that_does_not_come_are_closed(
    tmp_path: Path, sections: dict[str, Any], upstream: Upstream
) -> None:
    config = configuration(upstream.url, **sections, timeouts={"request_header": "400ms"})
    with Sidecar(tmp_path, config) as sidecar:
        _refuse_plain(sidecar)
    assert upstream.take() == []


def _refuse_plain(sidecar: Sidecar) -> None:
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP" not in read_all(connection)
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        assert read_all(connection, 5) == b""


def test_handshakes_that_do_not_come_count_and_have_an_end(
    tmp_path: Path, sections: dict[str, Any], upstream: Upstream, authority: Authority
) -> None:
    """Beyond the limit a connection is closed at once; when the handshakes have timed out there is room again."""
    config = configuration(upstream.url, **sections, limits={"connections": 20}, timeouts={"request_header": "2s"})
    context = client_context(authority)
    head = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    with Sidecar(tmp_path, config) as sidecar, contextlib.ExitStack() as stack:
        begun = time.monotonic()
        silent = [stack.enter_context(socket.create_connection(sidecar.address, timeout=10)) for _ in range(50)]
        wait_until(lambda: len(_ended(silent)) == 30, within=1)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(sidecar, context, head)
        assert sidecar.metric("sidecar_connections") == 20
        assert time.monotonic() - begun < 2
        assert len(_ended(silent)) == 30
        wait_until(lambda: len(_ended(silent)) == 50, within=5)
        assert sidecar.metric("sidecar_connections") == 0
        assert ask(sidecar, context, head).status == 401


def _ended(connections: list[socket.socket]) -> list[socket.socket]:
    return select.select(connections, [], [], 0)[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_resumes_its_session(
    sidecar: Sidecar, authority: Authority, bearer: str, version: ssl.TLSVersion
) -> None:
    """With a ticket, which spares the server its signature."""
    context, session, reused = client_context(authority), None, []
    context.minimum_version = context.maximum_version = version
    head = f"GET /x HTTP/1.1\r\nHost: a\r\n{bearer}\r\n".encode()
    for _ in range(3):
        with (
            socket.create_connection(sidecar.address, timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            connection.sendall(head)
            assert read_response(connection).status == 200
            session = connection.session  # TLS 1.3 sends tickets after the handshake
            reused.append(connection.session_reused)
    assert reused == [False, True, True]


def test_a_new_certificate_is_taken_up_without_losing_a_connection(
    sidecar: Sidecar, authority: Authority, server_pair: Pair, upstream: Upstream, bearer: str
) -> None:
    def common_name() -> str:
        with (
            socket.create_connection(sidecar.address, timeout=10) as plain,
            client_context(authority).wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            der = connection.getpeercert(binary_form=True)
            assert der
            return x509.load_der_x509_certificate(der).subject.rfc4514_string()

    head = f"GET /x HTTP/1.1\r\nHost: a\r\n{bearer}\r\n".encode()
    with (
        socket.create_connection(sidecar.address, timeout=10) as plain,
        client_context(authority).wrap_socket(plain, server_hostname="localhost") as old,
    ):
        assert common_name() == "CN=server"
        good = server_pair.certificate.read_bytes()
        server_pair.certificate.write_text("no certificate")
        sidecar.record("certificate_unusable")
        assert common_name() == "CN=server", "the old one stays"
        server_pair.certificate.write_bytes(good)
        authority.issue("server", "renewed")
        sidecar.record("certificate_changed")
        wait_until(lambda: common_name() == "CN=renewed")
        old.sendall(head)
        assert read_response(old).status == 200


def test_a_new_client_ca_is_taken_up_and_the_old_one_is_trusted_no_longer(
    tmp_path: Path, authority: Authority, server_pair: Pair, upstream: Upstream
) -> None:
    """Neither for a new handshake nor for a session of before that a client resumes; connections stay."""
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    client_ca = tmp_path / "clients.pem"
    client_ca.write_bytes(first.ca.read_bytes())
    tls = {"certificate": str(server_pair.certificate), "key": str(server_pair.key), "client_ca": str(client_ca)}
    head = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    contexts = [client_context(authority, ca.issue("client", "orders")) for ca in (first, second)]

    def statuses() -> list[int]:
        return [_status(sidecar, context, head) for context in contexts]

    with (
        running(tmp_path, upstream.url, tls=tls) as sidecar,
        socket.create_connection(sidecar.address, timeout=10) as plain,
        contexts[0].wrap_socket(plain, server_hostname="localhost") as old,
    ):
        assert statuses() == [401, 0]
        old.sendall(head.encode())
        assert read_response(old).status == 401
        session = old.session
        assert session
        client_ca.write_text("no certificate")
        sidecar.record("certificate_unusable")
        assert statuses() == [401, 0], "the old one stays"
        client_ca.write_bytes(second.ca.read_bytes())
        sidecar.record("certificate_changed")
        assert statuses() == [0, 401]
        assert _status(sidecar, contexts[0], head, session) == 0
        old.sendall(head.encode())
        assert read_response(old).status == 401


def _status(sidecar: Sidecar, context: ssl.SSLContext, head: str, session: ssl.SSLSession | None = None) -> int:
    """0 when the handshake does not succeed."""
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        plain = socket.create_connection(sidecar.address, timeout=10)
        with plain, context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
            connection.sendall(head.encode())
            return read_response(connection).status
    return 0


# To the API.


def call(sidecar: Sidecar) -> int:
    head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {sidecar.token()}\r\n\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head.encode())
        return read_response(connection).status


@pytest.fixture
def api_pair(authority: Authority) -> Pair:
    return authority.issue("api", "api")


def test_an_https_upstream_is_checked_against_the_ca(tmp_path: Path, authority: Authority, api_pair: Pair) -> None:
    with TlsUpstream(server_side(api_pair)) as upstream:
        trusted = {"url": upstream.url, "tls": {"ca": str(authority.ca)}}
        with running(tmp_path, trusted) as sidecar:
            assert call(sidecar) == 200
        with Sidecar(tmp_path, configuration(upstream.url)) as sidecar:
            assert call(sidecar) == 502, "the system's CAs do not know it"


def test_the_name_must_be_right_and_can_be_given(tmp_path: Path, authority: Authority, api_pair: Pair) -> None:
    with TlsUpstream(server_side(api_pair)) as upstream:
        for name, expected in (("localhost", 200), ("other.example", 502)):
            tls = {"ca": str(authority.ca), "server_name": name}
            with Sidecar(tmp_path, configuration({"url": upstream.url, "tls": tls})) as sidecar:
                assert call(sidecar) == expected
        assert upstream.names[0] == "localhost"


def test_we_show_a_certificate_when_the_api_asks(tmp_path: Path, authority: Authority, api_pair: Pair) -> None:
    ours = authority.issue("sidecar", "sidecar")
    tls = {"ca": str(authority.ca), "certificate": str(ours.certificate), "key": str(ours.key)}
    with TlsUpstream(server_side(api_pair, authority.ca)) as upstream:
        with running(tmp_path, {"url": upstream.url, "tls": tls}) as sidecar:
            assert call(sidecar) == 200
        assert upstream.peers[-1]["subject"] == ((("commonName", "sidecar"),),)


@pytest.fixture
def behind_tls(tmp_path: Path, authority: Authority, api_pair: Pair) -> Iterator[tuple[Sidecar, TlsUpstream]]:
    with (
        TlsUpstream(server_side(api_pair)) as upstream,
        running(tmp_path, {"url": upstream.url, "tls": {"ca": str(authority.ca)}}) as sidecar,
    ):
        yield sidecar, upstream


def without_length(body: bytes, *, notify: bool) -> Answer:
    """An answer that ends with its stream: properly, or only with the connection."""

    def answer(_: Received, connection: socket.socket) -> bool:
        assert isinstance(connection, ssl.SSLSocket)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        if notify:
            say_close(connection)
        return False

    return answer


def say_close(connection: ssl.SSLSocket) -> None:
    """Send close_notify, and do not wait for the other side's, as servers do that close right afterwards."""
    connection.setblocking(False)
    while True:
        try:
            connection.unwrap()
        except ssl.SSLWantWriteError:
            time.sleep(0.01)
        except ssl.SSLWantReadError:
            return


@pytest.mark.parametrize("notify", [True, False])
def test_a_body_that_was_cut_on_the_way_is_not_whole(behind_tls: tuple[Sidecar, TlsUpstream], notify: bool) -> None:
    """Anybody can end a TCP connection; only the API can say close_notify (RFC 9112 section 9.8)."""
    sidecar, upstream = behind_tls
    upstream.answer = without_length(b"ok", notify=notify)
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {sidecar.token()}\r\n\r\n".encode())
        response = read_response(connection)
    assert (response.status, response.complete) == (200, notify)
    assert sidecar.metric("sidecar_upstream_failures_total", reason="upstream_invalid") == (not notify)


@pytest.mark.parametrize("size", [2_000_000, 16_000_000])
def test_a_slow_client_gets_all_that_the_api_sent_before_it_closed(
    behind_tls: tuple[Sidecar, TlsUpstream], size: int
) -> None:
    """What is decrypted already when the stream ends is not lost."""
    sidecar, upstream = behind_tls
    body = bytes(range(250)) * (size // 250)
    upstream.answer = without_length(body, notify=True)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.settimeout(20)
        connection.connect(sidecar.address)
        connection.sendall(f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {sidecar.token()}\r\n\r\n".encode())
        wait_until(lambda: (queues := queues_of_peer(connection)) is not None and queues.unsent > 0)
        response = read_response(connection)
    assert response.complete
    assert response.body == body


def test_tls_with_several_workers(tmp_path: Path, authority: Authority, server_pair: Pair, upstream: Upstream) -> None:
    with RedisServer() as redis:
        tls = {"certificate": str(server_pair.certificate), "key": str(server_pair.key)}
        with running(tmp_path, upstream.url, tls=tls, workers=2, store={"url": redis.url}) as sidecar:
            assert token_of(sidecar, client_context(authority))
