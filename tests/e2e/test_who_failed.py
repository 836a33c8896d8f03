"""When the API is not reached, or gives no proper answer: log and `/readyz` say why, and the counter is that of whose fault
it is."""

import contextlib
import json
import resource
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.process import SECRET, Sidecar, configuration, get, running
from tests.support.raw import Response, exchange, read_all, read_response
from tests.support.redis import RedisServer, free_port
from tests.support.tls_upstream import TlsUpstream, server_side
from tests.support.upstream import Received, Upstream, reply, saying
from tests.support.waiting import wait_until

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset
CANARY = "canary-1f0b"
COUNTERS = ("auth_failures", "bad_requests", "upstream_failures", "own_failures")


def head(token: str, target: str = "/x", method: str = "GET", extra: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{extra}\r\n".encode()


def reason(response: Response) -> str:
    return str(json.loads(response.body)["reason"])


def readiness(sidecar: Sidecar) -> tuple[int, str]:
    status, body = get(f"{sidecar.admin}/readyz")
    return status, json.loads(body)["checks"]["upstream"]


# On the way to the API.


@contextlib.contextmanager
def tls(folder: Path, *, valid: tuple[int, int] = (-1, 24), host: str = "127.0.0.1", **tls: Any) -> Iterator[Any]:
    """The section `upstream` for an API that speaks TLS, whose CA is trusted."""
    authority = Authority(folder / "ca")
    pair = authority.issue("api", "api", host=host, valid=valid)
    mutual = authority.ca if tls.pop("mutual", False) else None
    with TlsUpstream(server_side(pair, mutual)) as upstream:
        yield {"url": upstream.url, "tls": {"ca": str(authority.ca), **tls}}


@contextlib.contextmanager
def by_a_stranger(folder: Path) -> Iterator[Any]:
    with tls(folder) as section:
        yield {**section, "tls": {"ca": str(Authority(folder / "another").ca)}}


@contextlib.contextmanager
def without_tls(_: Path) -> Iterator[Any]:
    """It reads nothing but TLS before it answers, as a server of plain HTTP does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(reply(400, CANARY.encode(), "Connection: close"))

        threading.Thread(target=serve, daemon=True).start()
        yield {"url": f"https://127.0.0.1:{server.getsockname()[1]}"}


@contextlib.contextmanager
def full(_: Path) -> Iterator[Any]:
    """A full backlog: the connection is not refused, it just does not come about."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        for _number in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        yield {"url": f"http://127.0.0.1:{server.getsockname()[1]}"}


@contextlib.contextmanager
def abandoned(folder: Path) -> Iterator[Any]:
    """The socket file of a server that is gone."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "api.sock"))
    yield {"url": f"unix://{folder}/api.sock"}


def at(url: str) -> Callable[[Path], contextlib.AbstractContextManager[Any]]:
    return lambda folder: contextlib.nullcontext({"url": url.replace("FOLDER", str(folder))})


UNREACHED: dict[str, Callable[[Path], contextlib.AbstractContextManager[Any]]] = {
    "name_not_resolved": at("http://no-such-host.invalid:80"),
    "name_not_resolved, for it is no name": at("http://api..internal:80"),
    "refused": lambda _: contextlib.nullcontext({"url": f"http://127.0.0.1:{free_port()}"}),
    "refused, by a file": abandoned,
    "socket_missing": at("unix://FOLDER/none.sock"),
    "speaks_no_tls": without_tls,
    "certificate_not_trusted": by_a_stranger,
    "certificate_name_mismatch": lambda folder: tls(folder, server_name="elsewhere.example"),
    "certificate_name_mismatch, of an address": lambda folder: tls(folder, host="127.0.0.9"),
    "certificate_expired": lambda folder: tls(folder, valid=(-9, -1)),
    "certificate_not_yet_valid": lambda folder: tls(folder, valid=(1, 9)),
}
TOLD = {
    "name_not_resolved": "cannot be resolved",
    "refused": "refused",
    "socket_missing": "does not exist",
    "speaks_no_tls": "no TLS is spoken there",
    "certificate_not_trusted": "no trusted CA",
    "certificate_name_mismatch": "for another name",
    "certificate_expired": "has expired",
    "certificate_not_yet_valid": "not valid yet",
    "connect_timeout": "timeouts.connect",
}


@pytest.mark.parametrize("case", UNREACHED)
def test_why_the_api_is_not_reached_is_in_the_log_and_in_readyz(tmp_path: Path, case: str) -> None:
    cause = case.partition(",")[0]
    with UNREACHED[case](tmp_path) as section, Sidecar(tmp_path, configuration(section)) as sidecar:
        response = exchange(sidecar.address, head(sidecar.token()))
        assert (response.status, reason(response)) == (502, "upstream_unreachable")
        assert json.loads(response.body)["error_description"] == "The API is not reachable.", "callers learn no more"
        record = sidecar.record("request_failed", reason="upstream_unreachable")
        assert (record["cause"], record["plane"], record["level"]) == (cause, "upstream", "warning")
        assert TOLD[cause] in record["detail"]
        status, told = readiness(sidecar)
        assert status == 503
        assert told.startswith("the API server does not accept connections: ")
        assert TOLD[cause] in told
        assert section["url"] in told
        assert record["upstream"] == section["url"]
        assert sidecar.metric("sidecar_upstream_failures_total", reason="upstream_unreachable") == 1
    assert CANARY not in "".join(sidecar.logs)


# Root may open every file, unless it loses CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (PR_CAPBSET_DROP) before it starts anew.
AS_ANYBODY = """
import ctypes, os, sys
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "sidecar", *sys.argv[1:]])
"""


def test_a_socket_file_that_may_not_be_opened_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "api.sock"))
        server.listen()
        (tmp_path / "api.sock").chmod(0)
        config = configuration(f"unix://{tmp_path}/api.sock")
        with Sidecar(tmp_path, config, [sys.executable, "-c", AS_ANYBODY]) as sidecar:
            assert exchange(sidecar.address, head(sidecar.token())).status == 502
            assert sidecar.record("request_failed")["cause"] == "socket_not_permitted"
            assert "may not open" in readiness(sidecar)[1]


def test_a_connection_that_does_not_come_about_is_a_timeout_with_a_cause(tmp_path: Path) -> None:
    with full(tmp_path) as section:
        config = configuration(section, timeouts={"connect": "300ms"})
        with Sidecar(tmp_path, config) as sidecar:
            assert exchange(sidecar.address, head(sidecar.token())).status == 504
            assert sidecar.record("request_failed", reason="upstream_timeout")["cause"] == "connect_timeout"
            assert TOLD["connect_timeout"] in readiness(sidecar)[1]


def test_an_api_that_wants_our_certificate_says_so(tmp_path: Path) -> None:
    """In TLS 1.3 it does after the handshake, when the request is there already."""
    with tls(tmp_path, mutual=True) as section, Sidecar(tmp_path, configuration(section)) as sidecar:
        response = exchange(sidecar.address, head(sidecar.token()))
        assert (response.status, reason(response)) == (502, "upstream_unreachable")
        assert sidecar.record("request_failed")["cause"] == "client_certificate_refused"


def test_of_several_apis_each_has_its_cause(tmp_path: Path) -> None:
    """Once, though each worker asks; the log names that of the last one that was tried."""
    urls = [f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}", f"unix://{tmp_path}/none.sock"]
    with RedisServer() as redis:
        config = configuration({"url": urls}, workers=2, store={"url": redis.url})
        with Sidecar(tmp_path, config) as sidecar:
            wait_until(lambda: '"store": "ok"' in get(f"{sidecar.admin}/readyz")[1], within=30)
            wait_until(lambda: sidecar.metric("sidecar_workers") == 2, within=30)
            assert exchange(sidecar.address, head(sidecar.token())).status == 502
            assert sidecar.record("request_failed")["cause"] == "socket_missing"
            told = readiness(sidecar)[1]
            assert (told.count("refused"), told.count("does not exist")) == (2, 1)
            assert all(told.count(f"{url}: ") == 1 for url in urls)


# The answer.


def ending(data: bytes = b"", *, reset: bool = False) -> Callable[[Received, socket.socket], bool]:
    """Say this much, and close."""

    def answer(_: Received, connection: socket.socket) -> bool:
        connection.sendall(data)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return False

    return answer


OK = f"HTTP/1.1 200 {CANARY}\r\nX-A: {CANARY}\r\n".encode()
SETTINGS = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x80"
ANSWERS: dict[str, tuple[Any, str]] = {
    "closed_without_answer": (ending(), ""),
    "closed_without_answer, by a reset": (ending(reset=True), "reset by peer"),
    "cut_short": (ending(OK), ""),
    "cut_short, by a reset": (ending(OK, reset=True), ""),
    "cut_short, after a 1xx": (ending(b"HTTP/1.1 103 X\r\n\r\n"), ""),
    "not_http": (saying(f"{CANARY}\r\n\r\n".encode()), "Expected HTTP/"),
    "not_http, for its status": (saying(f"HTTP/1.1 {CANARY}\r\n\r\n".encode()), "Invalid status code"),
    "not_http, for a header": (saying(OK + f"{CANARY} b: c\r\n\r\n".encode()), "Invalid header token"),
    "not_http, for its phrase": (saying(f"HTTP/1.1 200 {CANARY}\x01\r\n\r\n".encode()), "reason phrase"),
    "not_http, for its length": (saying(OK + f"Content-Length: {CANARY}\r\n\r\n".encode()), "Content-Length"),
    "not_http, for two lengths": (saying(OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"), "Content-Length"),
    "bad_framing": (saying(OK + b"Transfer-Encoding: gzip\r\n\r\n", keep=False), "Transfer-Encoding"),
    "bad_framing, of a 204": (saying(b"HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\nok"), "a body"),
    "bytes_after_answer": (saying(OK + b"Content-Length: 0\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n"), ""),
    "head_too_large": (saying(OK + b"X-B: " + b"b" * 300_000), ""),
    "bad_switch": (saying(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n"), "nobody"),
    "speaks_tls": (saying(b"\x15\x03\x01\0\x02\x02\x28", keep=False), "https://"),
    "speaks_http2": (saying(SETTINGS, keep=False), "HTTP/1.1"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_what_was_wrong_with_an_answer_is_in_the_log(
    sidecar: Sidecar, upstream: Upstream, token: str, case: str
) -> None:
    """By a word and a sentence, which hold nothing of what the API sent. One that took the request was reached."""
    upstream.answer, told = ANSWERS[case]
    target = f"/{list(ANSWERS).index(case)}"
    failures = sidecar.metric("sidecar_upstream_failures_total", reason="upstream_invalid")
    response = exchange(sidecar.address, head(token, target, "POST"), "POST")
    assert (response.status, reason(response)) == (502, "upstream_invalid")
    record = sidecar.record("request_failed", path=target)
    assert (record["cause"], record["reason"], record["level"]) == (
        case.partition(",")[0],
        "upstream_invalid",
        "warning",
    )
    assert told in record["detail"]
    assert CANARY not in "".join(sidecar.logs)
    assert sidecar.metric("sidecar_upstream_failures_total", reason="upstream_invalid") == failures + 1


def test_an_answer_that_was_cut_after_it_had_begun_says_so_too(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    upstream.answer = ending(OK + b"Content-Length: 9\r\n\r\nok")
    assert not exchange(sidecar.address, head(token, "/begun")).complete
    assert sidecar.record("request_failed", path="/begun")["cause"] == "cut_short"


def test_a_kept_connection_that_closes_under_a_request_has_a_cause_of_its_own(tmp_path: Path) -> None:
    """It has a remedy of its own, too."""

    def answer(received: Received, connection: socket.socket) -> bool:
        if received.target == "/second":
            return False
        connection.sendall(reply(200, b"ok"))
        return True

    with Upstream(answer) as upstream, running(tmp_path, {"url": upstream.url, "idle": "1m"}) as sidecar:
        token = sidecar.token()
        assert exchange(sidecar.address, head(token, "/first")).status == 200
        assert exchange(sidecar.address, head(token, "/second", "POST"), "POST").status == 502
        record = sidecar.record("request_failed", path="/second")
        assert (record["cause"], record["reason"]) == ("kept_connection_closed", "upstream_invalid")
        assert "upstream.idle" in record["detail"]


def test_a_client_that_speaks_before_the_switch_is_named_as_the_cause(
    sidecar: Sidecar, upstream: Upstream, token: str
) -> None:
    upstream.answer = saying(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    upgrade = "Connection: upgrade\r\nUpgrade: echo\r\n"
    with socket.create_connection(sidecar.address, timeout=10) as connection:
        connection.sendall(head(token, "/early", extra=upgrade) + b"early")
        assert read_response(connection).status == 502
    record = sidecar.record("request_failed", path="/early")
    assert record["cause"] == "bad_switch"


# Whose fault it is.


def counts(sidecar: Sidecar) -> dict[str, float]:
    return {name: sidecar.metric(f"sidecar_{name}_total") for name in COUNTERS}


@contextlib.contextmanager
def counted(sidecar: Sidecar, **more: float) -> Iterator[None]:
    """These counters go up by this much, and no other does."""
    before = counts(sidecar)
    yield
    expected = {name: before[name] + more.get(name, 0) for name in COUNTERS}
    wait_until(lambda: counts(sidecar)[next(iter(more))] >= expected[next(iter(more))])
    assert counts(sidecar) == expected


STRANGE = {
    "malformed_request": (b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "method_not_allowed": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
    "method_not_allowed, at an endpoint": (b"DELETE /oauth/token HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "request_line_too_long": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "headers_too_large": (b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    "request_timeout": (b"GET /x HTTP/1.1\r\nHost:", 408),
    "body_too_large": (b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n", 413),
}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Sidecar]:
    timeouts = {"request_header": "2s"}
    limits = {"body": "1KiB"}
    with running(tmp_path_factory.mktemp("i"), shared_upstream.url, timeouts=timeouts, limits=limits) as process:
        yield process


@pytest.mark.parametrize("case", STRANGE)
def test_a_request_that_is_none_is_no_failed_authentication(impatient: Sidecar, case: str) -> None:
    data, status = STRANGE[case]
    word = case.partition(",")[0]
    before = impatient.metric("sidecar_bad_requests_total", reason=word)
    with counted(impatient, bad_requests=1):
        with socket.create_connection(impatient.address, timeout=10) as connection:
            connection.sendall(data)
            assert read_response(connection).status == status
        wait_until(lambda: impatient.metric("sidecar_bad_requests_total", reason=word) == before + 1)
    wait_until(lambda: any(word in line and '"plane": "request"' in line for line in impatient.logs))
    assert not any('"plane": "request"' in line and '"level": "info"' not in line for line in impatient.logs)


def test_a_body_that_outgrows_its_limit_on_the_way_is_the_callers_fault(impatient: Sidecar, upstream: Upstream) -> None:
    """The request was admitted, and then refused after all."""
    token = impatient.token()
    with counted(impatient, bad_requests=1), socket.create_connection(impatient.address, timeout=10) as connection:
        connection.sendall(head(token, "/grown", "PUT", "Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n")
        connection.sendall(b"fff\r\n" + b"x" * 0xFFF + b"\r\n")
        assert read_response(connection).status == 413
    assert impatient.record("request_refused", path="/grown")["plane"] == "request"


def test_too_many_requests_are_neither_the_apis_nor_the_callers_failure(tmp_path: Path, upstream: Upstream) -> None:
    release = threading.Event()

    def holding(_: Received, connection: socket.socket) -> bool:
        release.wait(20)
        connection.sendall(reply(200, b"ok"))
        return True

    upstream.answer = holding
    section = {"url": upstream.url, "max_connections": 1}
    with running(tmp_path, section) as sidecar, socket.create_connection(sidecar.address, timeout=20) as first:
        token = sidecar.token()
        first.sendall(head(token))
        wait_until(lambda: len(upstream.received) == 1)
        with counted(sidecar, own_failures=1):
            assert exchange(sidecar.address, head(token, "/second")).status == 503
        record = sidecar.record("request_failed", path="/second")
        assert (record["reason"], record["plane"], record["level"]) == ("overloaded", "sidecar", "warning")
        assert record["cause"] == "all_connections_busy"
        release.set()
        assert read_response(first).status == 200


def test_a_sidecar_without_descriptors_does_not_blame_the_api(tmp_path: Path) -> None:
    """The system gives it no socket to reach an API that is well."""
    closing = saying(reply(200, b"ok", "Connection: close"), keep=False)
    with (
        Upstream(closing) as upstream,
        running(tmp_path, upstream.url) as sidecar,
        socket.create_connection(sidecar.address, timeout=10) as client,
    ):
        pid, token = sidecar.process.pid, sidecar.token()
        client.sendall(head(token))
        assert read_response(client).status == 200
        before, (soft, hard) = counts(sidecar), resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        client.sendall(head(token, "/none"))
        response = read_response(client)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert (response.status, reason(response)) == (503, "overloaded")
        assert sidecar.record("request_failed", path="/none")["cause"] == "no_sockets"
        assert counts(sidecar) == {**before, "own_failures": before["own_failures"] + 1}
        client.sendall(head(token))
        assert read_response(client).status == 200


def test_a_store_that_is_away_is_nobodys_failed_authentication(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as redis:
        store = {"url": redis.url, "max_staleness": "1s"}
        with running(tmp_path, upstream.url, store=store) as sidecar:
            token = sidecar.token()
            redis.kill()
            wait_until(lambda: exchange(sidecar.address, head(token)).status == 503)
            with counted(sidecar, own_failures=3):
                form = {"token": token, "client_id": "reporting", "client_secret": SECRET}
                assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 503
                assert [exchange(sidecar.address, head(token)).status for _ in range(2)] == [503, 503]
            refused = sidecar.record("request_refused", reason="store_unavailable")
            failed = sidecar.record("request_failed", path="/oauth/revoke")
            for record in (refused, failed):
                assert (record["plane"], record["level"]) == ("sidecar", "warning")


def test_a_stream_whose_token_ended_has_an_event_of_its_own(tmp_path: Path, upstream: Upstream) -> None:
    def streaming(_: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        with contextlib.suppress(OSError):
            connection.recv(1)
        return False

    upstream.answer = streaming
    with running(tmp_path, upstream.url) as sidecar:
        token = sidecar.token()
        with socket.create_connection(sidecar.address, timeout=20) as connection:
            connection.sendall(head(token, "/stream"))
            wait_until(lambda: connection.recv(4096) != b"")
            with counted(sidecar, auth_failures=1):
                form = {"token": token, "client_id": "reporting", "client_secret": SECRET}
                assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
                read_all(connection)
        record = sidecar.record("request_lapsed", path="/stream")
        assert (record["reason"], record["plane"], record["level"]) == ("revoked", "protected", "info")


def test_every_series_is_there_from_the_start(impatient: Sidecar) -> None:
    text = get(f"{impatient.admin}/metrics")[1]
    for name, word in (
        ("bad_requests", "body_too_large"),
        ("own_failures", "internal"),
        ("own_failures", "overloaded"),
    ):
        assert f'sidecar_{name}_total{{reason="{word}"}}' in text
