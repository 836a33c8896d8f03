"""The upstream's faults, start and end of the process, and what trusted proxies may say."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from tests.support.process import KEY, Sidecar, configuration, get, running
from tests.support.raw import exchange, read_response
from tests.support.redis import RedisServer, free_port
from tests.support.upstream import Received, Upstream, reply, saying
from tests.support.waiting import wait_until


def ask(sidecar: Sidecar, token: str, *lines: str, target: str = "/x") -> tuple[int, str]:
    head = [f"GET {target} HTTP/1.1", "Host: a", f"Authorization: Bearer {token}", *lines, "", ""]
    response = exchange(sidecar.address, "\r\n".join(head).encode())
    return response.status, "" if response.status == 200 else json.loads(response.body)["reason"]


def test_an_upstream_that_is_down_is_502_until_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    with Sidecar(tmp_path, configuration(f"http://127.0.0.1:{port}")) as sidecar:
        token = sidecar.token()
        assert ask(sidecar, token) == (502, "upstream_unreachable")
        status, body = get(f"{sidecar.admin}/readyz")
        assert status == 503
        assert json.loads(body)["checks"]["store"] == "ok"
        assert sidecar.metric("sidecar_upstream_failures_total", reason="upstream_unreachable") == 1
        assert sidecar.metric("sidecar_auth_failures_total") == 0, "nobody's credential was at fault"
        with Upstream(port=port):
            sidecar.ready()
            assert ask(sidecar, token) == (200, "")


def test_an_upstream_that_is_slow_is_504_and_its_late_answer_goes_to_nobody(tmp_path: Path) -> None:
    release = threading.Event()

    def slow(received: Received, connection: socket.socket) -> bool:
        if received.target == "/slow":
            release.wait(10)
        connection.sendall(reply(200, received.target.encode()))
        return True

    with (
        Upstream(slow) as upstream,
        running(tmp_path, upstream.url, timeouts={"response": "300ms"}) as sidecar,
    ):
        token = sidecar.token()
        assert ask(sidecar, token, target="/slow") == (504, "upstream_timeout")
        release.set()
        for number in range(10):
            head = f"GET /{number} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
            assert exchange(sidecar.address, head.encode()).body == f"/{number}".encode()


def test_an_upstream_that_never_accepts_is_504(tmp_path: Path) -> None:
    """A full backlog: the connection is not refused, it just does not come about."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        config = configuration(f"http://127.0.0.1:{address[1]}", timeouts={"connect": "300ms"})
        with Sidecar(tmp_path, config) as sidecar:
            assert ask(sidecar, sidecar.token()) == (504, "upstream_timeout")
        for filler in fillers:
            filler.close()


def test_a_stream_that_falls_silent_is_cut(tmp_path: Path) -> None:
    gone = threading.Event()

    def silent(received: Received, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        gone.wait(10)
        return False

    with (
        Upstream(silent) as upstream,
        running(tmp_path, upstream.url, timeouts={"stream": "300ms"}) as sidecar,
        socket.create_connection(sidecar.address, timeout=10) as connection,
    ):
        connection.sendall(f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {sidecar.token()}\r\n\r\n".encode())
        response = read_response(connection)
        gone.set()
        assert (response.status, response.body, response.complete) == (200, b"ab", False)


def test_an_upstream_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with Upstream(listener=listener), running(tmp_path, f"unix://{path}") as sidecar:
            assert ask(sidecar, sidecar.token()) == (200, "")


@pytest.mark.parametrize("requests", [1, 20])
def test_sigterm_lets_requests_finish_and_refuses_new_ones(tmp_path: Path, requests: int) -> None:
    begun, release = threading.Semaphore(0), threading.Event()

    def slow(received: Received, connection: socket.socket) -> bool:
        begun.release()
        release.wait(10)
        connection.sendall(reply(200, b"whole"))
        return True

    with Upstream(slow) as upstream, running(tmp_path, upstream.url) as sidecar:
        head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {sidecar.token()}\r\n\r\n".encode()
        connections = [socket.create_connection(sidecar.address, timeout=10) for _ in range(requests)]
        idle = socket.create_connection(sidecar.address, timeout=10)
        for connection in connections:
            connection.sendall(head)
            assert begun.acquire(timeout=10)
        sidecar.process.send_signal(signal.SIGTERM)
        sidecar.record("draining")
        assert idle.recv(1) == b"", "an idle connection is closed at once"
        wait_until(lambda: _refused(sidecar.address))
        assert json.loads(get(f"{sidecar.admin}/readyz")[1])["checks"]["draining"] != "ok"
        release.set()
        for connection in connections:
            response = read_response(connection)
            assert (response.status, response.body, response.values("connection")) == (200, b"whole", ["close"])
            connection.close()
        idle.close()
        assert sidecar.process.wait(10) == 0
        assert sidecar.record("stopped")["requests_cut"] == 0


def _refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_drain_has_an_end(tmp_path: Path) -> None:
    release = threading.Event()

    def stuck(received: Received, connection: socket.socket) -> bool:
        release.wait(20)
        return False

    with Upstream(stuck) as upstream, running(tmp_path, upstream.url, timeouts={"drain": "300ms"}) as sidecar:
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            head = f"GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {sidecar.token()}\r\n\r\n"
            connection.sendall(head.encode())
            wait_until(lambda: sidecar.metric("sidecar_in_flight_requests") == 1)
            sidecar.process.send_signal(signal.SIGTERM)
            assert sidecar.process.wait(10) == 0
        release.set()
        assert sidecar.record("stopped")["requests_cut"] == 1


def test_a_trusted_proxy_is_believed(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url, trusted_proxies=["127.0.0.0/8"]) as sidecar:
        lines = ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: api.example"]
        assert ask(sidecar, sidecar.token(), *lines)[0] == 200
        (received,) = upstream.take()
        assert received.values("x-forwarded-for") == ["203.0.113.9, 127.0.0.1"]
        assert received.values("x-forwarded-proto") == ["https"]
        assert received.values("x-forwarded-host") == ["api.example"]


def test_an_address_in_use_is_named(tmp_path: Path, upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path = tmp_path / "sidecar.yaml"
        path.write_text(yaml.safe_dump(configuration(upstream.url, listen=address)))
        done = sidecar_command("serve", "--config", str(path))
    assert done.returncode == 1
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def sidecar_command(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sidecar", *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def test_every_fault_of_the_configuration_is_printed_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    config = configuration("ftp://nowhere", workers=2, listne="x")
    config["clients"][1]["client_id"] = "reporting"
    config["clients"][0]["grant_types"] = ["password"]
    config["tokens"]["signing_keys"][0]["secret"] = "short-canary"
    path.write_text(yaml.safe_dump(config))
    done = sidecar_command("check-config", str(path))
    assert done.returncode == 2
    for fault in (
        "upstream.url:", "workers:", "listne: unknown key; did you mean listen?", "clients[0].grant_types[0]:",
        "clients[1].client_id:", "tokens.signing_keys[0].secret:", "6 faults",
    ):  # fmt: skip
        assert fault in done.stderr
    assert "canary" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_tokens_are_inspected_from_stdin(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url) as sidecar:
        token = sidecar.token()
    config = str(tmp_path / "sidecar.yaml")
    good = sidecar_command("tokens", "inspect", "--config", config, stdin=token + "\n")
    assert (good.returncode, "valid" in good.stdout) == (0, True)
    bad = sidecar_command("tokens", "inspect", "--config", config, stdin=token[:-4] + "AAAA\n")
    assert (bad.returncode, "refused: bad_signature" in bad.stdout) == (1, True)
    assert sidecar_command("tokens", "inspect", stdin="garbage").returncode == 1
    assert sidecar_command("tokens", "inspect", stdin="").returncode == 2
    assert KEY not in good.stdout + bad.stdout


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_the_demo_checks_itself(store: str) -> None:
    if store == "memory":
        done = sidecar_command("demo", "--check")
    else:
        with RedisServer() as server:
            done = sidecar_command("demo", "--check", "--store", server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 of 11 steps passed" in done.stdout


def test_the_demo_says_when_the_store_is_not_there() -> None:
    done = sidecar_command("demo", "--check", "--store", f"redis://127.0.0.1:{free_port()}/0")
    assert done.returncode == 1
    assert "store" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_that_the_demo_prints_work_as_pasted(tmp_path: Path) -> None:
    port, admin_port = free_port(), free_port()
    arguments = ["demo", "--port", str(port), "--admin-port", str(admin_port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar", *arguments], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        assert process.stdout
        lines: list[str] = []
        while "Ctrl-C" not in (lines or [""])[-1]:
            line = process.stdout.readline()
            assert line, lines
            lines.append(line)
        commands = "".join(line for line in lines if line.startswith(("curl", "TOKEN=")))
        script = "set -eu\n" + commands.replace("curl -si", "curl -si --max-time 5")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        statuses = re.findall(r"HTTP/1\.1 (\d+) ", done.stdout)
        assert statuses == ["401", "200", "204", "404", "500", "200", "200", "200", "401"]
        assert 'reason="missing_token"} 1' in done.stdout
        assert 'reason="revoked"} 1' in done.stdout
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stdout
        process.stdout.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::1]", "127.0.0.1", "localhost"])
def test_the_log_says_the_address_that_was_bound(tmp_path: Path, upstream: Upstream, host: str, workers: int) -> None:
    """With the port that the system chose: what is open to everybody is not called loopback, and a name says too little."""
    sections: dict[str, object] = {"listen": f"{host}:0", "admin": {"listen": f"{host}:0"}, "workers": workers}
    with RedisServer() as redis, running(tmp_path, upstream.url, **sections, store={"url": redis.url}) as sidecar:
        record = sidecar.record("listening")
        for field in ("public", "admin"):
            url, _, port = record[field].rpartition(":")
            assert url in ([f"http://{host}"] if host != "localhost" else ["http://127.0.0.1", "http://[::1]"])
            assert int(port) > 0
        assert get(f"{sidecar.public}/x", Authorization=f"Bearer {sidecar.token()}")[0] == 200


def test_metrics_pass_promtool(tmp_path: Path, upstream: Upstream) -> None:
    with running(tmp_path, upstream.url) as sidecar:
        ask(sidecar, sidecar.token())
        ask(sidecar, "x.y.z")
        text = get(f"{sidecar.admin}/metrics")[1]
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_an_upstream_that_answers_early_ends_the_upload(tmp_path: Path) -> None:
    """A 413 of the API reaches a client that still sends."""
    early = saying(reply(413, b"enough", "Connection: close"), keep=False)
    with Upstream() as upstream, running(tmp_path, upstream.url) as sidecar:
        upstream.answer = early
        upstream.early = True
        token = sidecar.token()
        head = f"PUT /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 50000000\r\n\r\n"
        with socket.create_connection(sidecar.address, timeout=10) as connection:
            connection.sendall(head.encode() + bytes(1000))
            response = read_response(connection, "PUT")
        assert (response.status, response.body) == (413, b"enough")
