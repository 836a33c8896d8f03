"""What an on-call person asks `/metrics`, over real processes: how are the endpoints, the API, Redis, the certificates and the
workers, how much is left of each limit, and whose failure it is."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Authority
from tests.support.process import SECRET, UNTHROTTLED, Sidecar, configuration, get, running
from tests.support.raw import exchange, read_all, read_response
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Received, Upstream, reply, saying
from tests.support.waiting import wait_until

FORM = {"grant_type": "client_credentials", "client_id": "reporting", "client_secret": SECRET}
FAILURES = ("auth_failures", "bad_requests", "upstream_failures", "own_failures")
HEAVY = {name: f"sidecar_{name}_duration_seconds_count" for name in ("request", "upstream")}


def head(token: str, target: str = "/x", method: str = "GET", extra: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{extra}\r\n".encode()


def scraped(sidecar: Sidecar) -> dict[str, float]:
    """Every sample, by its name and its labels in the order of their names."""
    text, found = get(f"{sidecar.admin}/metrics")[1], {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def shows(sidecar: Sidecar, **expected: float) -> bool:
    found = scraped(sidecar)
    return {f"sidecar_{name}": found.get(f"sidecar_{name}") for name in expected} == {
        f"sidecar_{name}": value for name, value in expected.items()
    }


@contextlib.contextmanager
def grows(sidecar: Sidecar, expected: dict[str, float]) -> Iterator[None]:
    """Of the counters of failures and of the histograms of the API, these grow by this much, and no other does."""
    watched = ("sidecar_oauth_failures_total", *(f"sidecar_{name}_total" for name in FAILURES))
    histograms = (HEAVY["upstream"], "sidecar_upstream_first_byte_seconds_count")

    def counted() -> dict[str, float]:
        found = scraped(sidecar)
        return {name: value for name, value in found.items() if name.partition("{")[0] in (*watched, *histograms)}

    def grown() -> dict[str, float]:
        now = counted()
        return {name: now[name] - before.get(name, 0) for name in now if now[name] != before.get(name, 0)}

    before = counted()
    yield
    wait_until(lambda: grown().keys() >= expected.keys())
    assert grown() == expected


class Holding:
    """An upstream's answer that waits until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self, _: Received, connection: socket.socket) -> bool:
        self.go.wait(20)
        connection.sendall(reply(200, b"ok"))
        return True


# The sidecar's own endpoints.


def test_each_endpoint_has_its_rate_its_errors_and_its_durations(sidecar: Sidecar) -> None:
    before = scraped(sidecar)
    assert get(f"{sidecar.public}/oauth/token", FORM)[0] == 200
    assert get(f"{sidecar.public}/oauth/token", {**FORM, "client_secret": "wrong"})[0] == 401
    assert get(f"{sidecar.public}/oauth/jwks")[0] == 200
    assert get(f"{sidecar.public}/.well-known/oauth-authorization-server")[0] == 200
    assert get(f"{sidecar.public}/oauth/authorize?client_id=nobody")[0] == 400
    after = scraped(sidecar)
    grown = {name: after[name] - before.get(name, 0) for name in after if "oauth" in name and "bucket" not in name}
    assert {name: count for name, count in grown.items() if count and "_sum" not in name} == {
        "sidecar_oauth_requests_total{code=200,endpoint=token}": 1,
        "sidecar_oauth_requests_total{code=401,endpoint=token}": 1,
        "sidecar_oauth_requests_total{code=200,endpoint=jwks}": 1,
        "sidecar_oauth_requests_total{code=200,endpoint=metadata}": 1,
        "sidecar_oauth_requests_total{code=400,endpoint=authorize}": 1,
        "sidecar_oauth_failures_total{endpoint=token,reason=bad_client_secret}": 1,
        "sidecar_oauth_failures_total{endpoint=authorize,reason=unknown_client}": 1,
        "sidecar_oauth_request_duration_seconds_count{endpoint=token}": 2,
        "sidecar_oauth_request_duration_seconds_count{endpoint=jwks}": 1,
        "sidecar_oauth_request_duration_seconds_count{endpoint=metadata}": 1,
        "sidecar_oauth_request_duration_seconds_count{endpoint=authorize}": 1,
    }


# Whose failure it is.


def test_a_body_too_large_for_an_endpoint_is_no_failed_authentication(sidecar: Sidecar) -> None:
    expected = {
        "sidecar_bad_requests_total{reason=body_too_large}": 2.0,
        "sidecar_oauth_failures_total{endpoint=token,reason=body_too_large}": 2.0,
    }
    declared = b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"
    chunked = b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with grows(sidecar, expected):
        for data in (declared, chunked + b"20000\r\n" + b"x" * 0x20000 + b"\r\n"):
            assert exchange(sidecar.address, data, "POST").status == 413


def test_an_upload_that_outgrows_its_limit_says_nothing_about_the_api(tmp_path: Path, upstream: Upstream) -> None:
    """Neither as a failure nor as a duration, although the API was asked."""
    with running(tmp_path, upstream.url, limits={"body": "1KiB"}) as sidecar:
        token = sidecar.token()
        with (
            grows(sidecar, {"sidecar_bad_requests_total{reason=body_too_large}": 2.0}),
            socket.create_connection(sidecar.address, timeout=10) as connection,
        ):
            connection.sendall(head(token, "/x", "PUT", "Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n")
            connection.sendall(b"fff\r\n" + b"x" * 0xFFF + b"\r\n")
            assert read_response(connection).status == 413
            declared = head(token, "/x", "PUT", "Content-Length: 5000\r\n")
            assert exchange(sidecar.address, declared, "PUT").status == 413


@pytest.mark.parametrize("limit", ["requests", "connections to the API"])
def test_our_own_overload_is_ours_alone(tmp_path: Path, upstream: Upstream, limit: str) -> None:
    """No failure and no duration of the API, and no failed authentication, also at the token endpoint."""
    held = upstream.answer = Holding()
    section: dict[str, object] = {"url": upstream.url}
    limits: dict[str, object] = {}
    if limit == "requests":
        limits = {"in_flight": 1}
    else:
        section["max_connections"] = 1
    with running(tmp_path, section, limits=limits) as sidecar, socket.create_connection(sidecar.address) as first:
        token = sidecar.token()
        first.settimeout(20)
        first.sendall(head(token))
        wait_until(lambda: len(upstream.received) == 1)
        if limit == "requests":
            expected = {
                "sidecar_own_failures_total{reason=overloaded}": 2.0,
                "sidecar_oauth_failures_total{endpoint=token,reason=overloaded}": 1.0,
            }
            with grows(sidecar, expected):
                assert exchange(sidecar.address, head(token)).status == 503
                assert get(f"{sidecar.public}/oauth/token", FORM)[0] == 503
            assert shows(sidecar, in_flight_requests=1, in_flight_requests_limit=1)
        else:
            with grows(sidecar, {"sidecar_own_failures_total{reason=overloaded}": 1.0}):
                assert exchange(sidecar.address, head(token)).status == 503
            assert shows(
                sidecar,
                **{"upstream_connections{state=busy}": 1, "upstream_connections_limit": 1},
                **{"failure_causes_total{cause=all_connections_busy,reason=overloaded}": 1},
            )
        assert shows(sidecar, **{f"upstream_up{{address={upstream.url}}}": 1})
        held.go.set()
        assert read_response(first).status == 200


def test_a_store_that_is_away_is_told_by_operation_and_endpoint(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as redis:
        store = {"url": redis.url, "max_staleness": "1s"}
        with running(tmp_path, upstream.url, store=store, throttling=UNTHROTTLED) as sidecar:
            token, other = sidecar.token(), sidecar.token()
            form = {"token": other, "client_id": "reporting", "client_secret": SECRET}
            assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 200
            found = scraped(sidecar)
            assert found["sidecar_store_duration_seconds_count{operation=revoke}"] == 1
            assert found["sidecar_store_duration_seconds_count{operation=heartbeat}"] >= 1
            assert found["sidecar_store_changes_total{state=up}"] == 1
            redis.kill()
            wait_until(lambda: exchange(sidecar.address, head(token)).status == 503)
            expected = {
                "sidecar_own_failures_total{reason=store_unavailable}": 2.0,
                "sidecar_oauth_failures_total{endpoint=revoke,reason=store_unavailable}": 1.0,
            }
            with grows(sidecar, expected):
                assert get(f"{sidecar.public}/oauth/revoke", form)[0] == 503
                assert exchange(sidecar.address, head(token)).status == 503
            assert shows(
                sidecar,
                **{"store_errors_total{operation=revoke}": 1, "store_changes_total{state=down}": 1, "store_up": 0},
            )
            redis.start()
            wait_until(lambda: shows(sidecar, **{"store_changes_total{state=up}": 2, "store_up": 1}))


# The API.


def test_an_api_server_that_is_away_is_told_with_its_cause(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Sidecar(tmp_path, configuration(url)) as sidecar:
        token = sidecar.token()
        assert shows(sidecar, **{f"upstream_up{{address={url}}}": 1}), "nobody has asked it yet"
        assert exchange(sidecar.address, head(token)).status == 502
        fault = f"upstream_fault{{address={url},cause=refused}}"
        assert shows(sidecar, **{f"upstream_up{{address={url}}}": 0, fault: 1})
        assert shows(sidecar, **{"failure_causes_total{cause=refused,reason=upstream_unreachable}": 1})
        with Upstream(port=port):
            assert exchange(sidecar.address, head(token)).status == 200
            assert shows(sidecar, **{f"upstream_up{{address={url}}}": 1})
            assert f"sidecar_{fault}" not in scraped(sidecar)


def test_the_first_byte_of_the_api_is_apart_from_the_end_of_its_answer(tmp_path: Path, upstream: Upstream) -> None:
    """In one piece both are one; in several, the first comes before."""
    half, begun = threading.Event(), threading.Event()

    def halting(_: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nab")
        begun.set()
        half.wait(20)
        connection.sendall(b"cd")
        return True

    with running(tmp_path, upstream.url) as sidecar:
        token = sidecar.token()
        assert exchange(sidecar.address, head(token)).status == 200
        upstream.answer = halting
        with socket.create_connection(sidecar.address, timeout=20) as client:
            client.sendall(head(token))
            begun.wait(10)
            assert shows(sidecar, upstream_first_byte_seconds_count=1, upstream_duration_seconds_count=1)
            half.set()
            assert read_response(client).body == b"abcd"
        wait_until(lambda: shows(sidecar, upstream_first_byte_seconds_count=2, upstream_duration_seconds_count=2))
        found = scraped(sidecar)
        assert found["sidecar_upstream_first_byte_seconds_sum"] < found["sidecar_upstream_duration_seconds_sum"]
        assert found["sidecar_request_duration_seconds_count{decision=admitted}"] == 2


# Streams and tunnels.


def test_an_event_stream_is_seen_while_it_runs_and_is_in_no_duration_of_requests(
    tmp_path: Path, upstream: Upstream
) -> None:
    end = threading.Event()

    def streaming(_: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        end.wait(20)
        return False

    upstream.answer = streaming
    with running(tmp_path, upstream.url) as sidecar:
        token = sidecar.token()
        with socket.create_connection(sidecar.address, timeout=20) as client:
            client.sendall(head(token))
            wait_until(lambda: shows(sidecar, streams=1))
            end.set()
            assert read_response(client).body == b"data: 1\n\n"
        wait_until(lambda: shows(sidecar, streams=0, **{"stream_duration_seconds_count{kind=stream}": 1}))
        assert shows(
            sidecar,
            upstream_duration_seconds_count=0,
            upstream_first_byte_seconds_count=1,
            **{"request_duration_seconds_count{decision=admitted}": 0},
            **{"requests_total{code=200,decision=admitted}": 1},
        )


def test_a_tunnel_is_in_no_duration_of_requests(tmp_path: Path, upstream: Upstream) -> None:
    upstream.answer = saying(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", keep=False)
    limits = {"tunnels": 3}
    with running(tmp_path, upstream.url, limits=limits) as sidecar:
        token = sidecar.token()
        with socket.create_connection(sidecar.address, timeout=20) as client:
            client.sendall(head(token, extra="Connection: upgrade\r\nUpgrade: echo\r\n"))
            assert b" 101 " in read_all(client)
        wait_until(lambda: shows(sidecar, **{"stream_duration_seconds_count{kind=tunnel}": 1}))
        assert shows(
            sidecar,
            tunnels=0,
            tunnels_limit=3,
            upstream_duration_seconds_count=0,
            upstream_first_byte_seconds_count=1,
            **{"request_duration_seconds_count{decision=admitted}": 0},
        )


# What expires.


def test_the_expiry_of_a_certificate_is_that_of_the_one_in_use(tmp_path: Path, upstream: Upstream) -> None:
    """A renewed file counts once the sidecar uses it; one that cannot be used does not hide the old one's end."""
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server", "s", valid=(-1, 48))
    name = "sidecar_certificate_expiry_timestamp_seconds{of=listener}"

    def expiry() -> float:
        return x509.load_pem_x509_certificates(pair.certificate.read_bytes())[0].not_valid_after_utc.timestamp()

    tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
    with running(tmp_path, upstream.url, tls=tls) as sidecar:
        first = expiry()
        assert scraped(sidecar)[name] == first
        good = pair.certificate.read_bytes(), pair.key.read_bytes()
        stranger = authority.issue("stranger", "s", valid=(-1, 900))
        pair.certificate.write_bytes(stranger.certificate.read_bytes())
        sidecar.record("certificate_unusable")
        assert scraped(sidecar)[name] == first
        pair.certificate.write_bytes(good[0])
        authority.issue("server", "s", valid=(-1, 700))
        sidecar.record("certificate_changed")
        wait_until(lambda: scraped(sidecar)[name] == expiry())
        assert expiry() > first


def test_the_key_that_signs_and_reloads_are_told(tmp_path: Path, upstream: Upstream) -> None:
    config = configuration(upstream.url)
    config["tokens"]["signing_keys"].append(
        {"kid": "k2", "alg": "HS256", "secret": "f" * 32, "not_after": "2099-01-01T00:00:00Z"}
    )
    with Sidecar(tmp_path, config) as sidecar:
        found = scraped(sidecar)
        assert found["sidecar_signing_key_signs{alg=HS256,kid=k1}"] == 1
        assert found["sidecar_signing_key_signs{alg=HS256,kid=k2}"] == 0
        assert found["sidecar_signing_key_not_after_timestamp_seconds{kid=k2}"] == 4070908800
        assert found["sidecar_signing_keys_lapsed"] == 0
        keys = config["tokens"]["signing_keys"]
        (tmp_path / "sidecar.yaml").write_text(
            yaml.safe_dump({**config, "tokens": {**config["tokens"], "signing_keys": keys[::-1]}})
        )
        wait_until(lambda: shows(sidecar, **{"config_reloads_total{result=applied}": 1}))
        assert shows(sidecar, **{"signing_key_signs{alg=HS256,kid=k2}": 1, "signing_key_signs{alg=HS256,kid=k1}": 0})
        (tmp_path / "sidecar.yaml").write_text("nonsense: 1\n")
        wait_until(lambda: shows(sidecar, **{"config_reloads_total{result=rejected}": 1}))
        assert shows(sidecar, config_last_reload_successful=0)


# Processes.


def test_going_away_is_seen(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url, drain={"delay": "20s"}) as sidecar:
        assert shows(sidecar, draining=0, workers_configured=1)
        sidecar.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: shows(sidecar, draining=1))
        sidecar.expected_code = -signal.SIGKILL
        sidecar.process.kill()


NEVER_LESS = (
    "sidecar_oauth_requests_total{code=200,endpoint=token}",
    "sidecar_oauth_request_duration_seconds_count{endpoint=token}",
    "sidecar_request_duration_seconds_count{decision=admitted}",
    "sidecar_upstream_first_byte_seconds_count",
    "sidecar_store_duration_seconds_count{operation=heartbeat}",
    "sidecar_event_loop_lag_seconds_count",
    "sidecar_process_cpu_seconds_total{process=worker-0}",
    "sidecar_process_cpu_seconds_total{process=worker-1}",
    "process_cpu_seconds_total",
)


def test_workers_add_up_and_nothing_that_was_counted_is_lost(tmp_path: Path, upstream: Upstream) -> None:
    """While one does not answer, after one was killed, and after all were replaced; gauges are of those that answer."""
    with RedisServer() as redis, running(tmp_path, upstream.url, store={"url": redis.url}, workers=2) as sidecar:
        token = sidecar.token()
        for _ in range(20):
            assert exchange(sidecar.address, head(token)).status == 200
        wait_until(lambda: shows(sidecar, **{"request_duration_seconds_count{decision=admitted}": 20}))
        before = scraped(sidecar)
        assert before["sidecar_connections_limit"] == 2 * configured(before)
        processes = {"parent", "worker-0", "worker-1"}
        assert {f"sidecar_process_open_fds{{process={name}}}" for name in processes} <= before.keys()
        assert before["process_start_time_seconds"] == min(
            before[f"sidecar_process_start_time_seconds{{process={name}}}"] for name in processes
        )
        frozen, killed = sidecar.workers()
        os.kill(frozen, signal.SIGSTOP)
        try:
            during = scraped(sidecar)
        finally:
            os.kill(frozen, signal.SIGCONT)
        assert (during["sidecar_workers"], during["sidecar_workers_configured"]) == (1, 2)
        assert during["sidecar_connections_limit"] == configured(before)
        sidecar.ready()
        os.kill(killed, signal.SIGKILL)
        sidecar.record("worker_died")
        sidecar.ready(within=30)
        after = scraped(sidecar)
        assert get(f"{sidecar.admin}/roll", {})[0] == 200
        wait_until(lambda: len(sidecar.workers()) == 2, within=30)
        rolled = scraped(sidecar)
        for name in NEVER_LESS:
            assert before[name] <= during[name] <= after[name] <= rolled[name], name
        assert (rolled["sidecar_workers"], rolled["sidecar_workers_replaced_total{cause=died}"]) == (2, 1)
        text = get(f"{sidecar.admin}/metrics")[1]
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def configured(found: dict[str, float]) -> float:
    """The limit of connections of each of two workers."""
    return found["sidecar_connections_limit"] / 2
