"""`sidecar doctor` beside real servers, and their faults."""

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.support.certificates import Authority
from tests.support.documents import ROOT
from tests.support.process import COMMAND, ISSUER, KEY, SECRET, Sidecar, configuration, get, running
from tests.support.redis import RedisServer, free_port
from tests.support.tls_upstream import TlsUpstream, server_side
from tests.support.topologies import SERVICE, ClusterSet, SentinelSet
from tests.support.upstream import Upstream, saying
from tests.support.waiting import wait_until

PASSWORD = "canary-71c2"
LONG = "canary-of-a-client-" + "x" * 32
Section = Callable[[Path], contextlib.AbstractContextManager[dict[str, Any]]]


class Report(NamedTuple):
    """What the doctor printed."""

    code: int
    text: str

    @property
    def checks(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.text)["checks"]
        return found

    def of(self, check: str) -> dict[str, str]:
        """The finding of a check whose name begins like this."""
        return next(each for each in self.checks if each["check"].startswith(check))

    def failed(self) -> set[str]:
        return {each["check"] for each in self.checks if each["status"] == "failed"}


def doctor(folder: Path, config: dict[str, Any], *options: str) -> Report:
    path = folder / "doctor.yaml"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    done = subprocess.run(
        [*COMMAND, "doctor", "--config", str(path), *options], capture_output=True, text=True, timeout=20, check=False
    )
    everything = done.stdout + done.stderr
    assert not any(secret in everything for secret in (PASSWORD, KEY, LONG, SECRET)), everything
    assert "Traceback" not in everything
    return Report(done.returncode, done.stdout or done.stderr)


def examined(folder: Path, upstream: Any, **sections: Any) -> Report:
    return doctor(folder, configuration(upstream, **sections), "--json")


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Takes every connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server.getsockname()[1]


# Everything is well.


def whole(redis: RedisServer, upstream: Any) -> dict[str, Any]:
    """A configuration without anything to warn of."""
    client = {"client_id": "reporting", "client_secret": LONG, "scope": "orders:read"}
    api = {"url": upstream, "max_connections": 100}
    return configuration(api, store={"url": redis.url}, clients=[client], limits={"connections": 100})


def test_when_all_is_well_it_says_so(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer("--appendonly", "yes", password=PASSWORD) as redis:
        report = doctor(tmp_path, whole(redis, upstream.url), "--json")
        keys = redis.command("KEYS", "*")
    assert report.code == 0, report.text
    assert {each["status"] for each in report.checks} == {"ok"}, report.text
    assert json.loads(report.text)["status"] == "ok"
    assert f"127.0.0.1:{redis.port}, primary" in report.of("store")["found"]
    assert "noeviction" in report.of("store data")["found"]
    assert "k1 (HS256) signs" in report.of("signing keys")["found"]
    (asked,) = upstream.take()
    assert (asked.method, asked.target, asked.body) == ("OPTIONS", "*", b"")
    assert b"authorization" not in asked.raw.lower()
    assert set(keys) <= {b"{sidecar}:revoked:probe"}


def test_the_table_is_readable_and_plain_in_a_pipe(tmp_path: Path, upstream: Upstream) -> None:
    config = configuration(upstream.url, store={"url": f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"})
    report = doctor(tmp_path, config)
    lines = report.text.splitlines()
    assert report.code == 1
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in report.text
    assert all(re.match(r"(ok|warning|failed|skipped) +\S|  |$|\d+ failed, \d+ warning", line) for line in lines), lines
    start = next(number for number, line in enumerate(lines) if re.match("failed +store ", line))
    told = " ".join(line[35:].strip() for line in lines[start : start + 4])
    assert "no connection (Connection refused) -> start Redis, or correct host and port in store.url" in told
    assert lines[-1].startswith("1 failed, ")


def test_faults_of_the_configuration_are_those_of_check_config(tmp_path: Path) -> None:
    config = {**configuration("http://127.0.0.1:1"), "workers": 0, "nonsense": 1}
    report = doctor(tmp_path, config)
    checked = subprocess.run(
        [*COMMAND, "check-config", str(tmp_path / "doctor.yaml")], capture_output=True, text=True, check=False
    )
    assert (report.code, report.text) == (2, checked.stderr)
    report = doctor(tmp_path, config, "--json")
    assert report.code == 2
    assert [each["found"] for each in report.checks] == checked.stderr.splitlines()[:-1]


def test_warnings_of_the_configuration_are_warnings_here(tmp_path: Path, upstream: Upstream) -> None:
    report = examined(tmp_path, upstream.url)
    assert report.code == 0
    warnings = [each["found"] for each in report.checks if each["check"] == "configuration"]
    assert any("openssl rand -hex 32" in each for each in warnings)
    assert "revocations, refresh tokens and logins end with it" in report.of("store")["found"]


# The API.


def tls(*, valid: tuple[int, int] = (-1, 24 * 90), mutual: bool = False, **own: str) -> Section:
    @contextlib.contextmanager
    def section(folder: Path) -> Iterator[dict[str, Any]]:
        authority = Authority(folder / "ca")
        pair = authority.issue("api", "api", valid=valid)
        with TlsUpstream(server_side(pair, authority.ca if mutual else None)) as server:
            yield {"url": server.url, "tls": {"ca": str(authority.ca), **own}}

    return section


def changed(section: Section, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Section:
    @contextlib.contextmanager
    def other(folder: Path) -> Iterator[dict[str, Any]]:
        with section(folder) as given:
            yield change(given)

    return other


@contextlib.contextmanager
def plain_server(_: Path) -> Iterator[dict[str, Any]]:
    """It answers what is no HTTP with a 400, as servers of plain HTTP do."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = server.accept()
                    with taken:
                        taken.recv(65536)
                        taken.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield {"url": f"https://127.0.0.1:{server.getsockname()[1]}"}


@contextlib.contextmanager
def silent(_: Path) -> Iterator[dict[str, Any]]:
    with black_hole() as port:
        yield {"url": f"http://127.0.0.1:{port}"}


@contextlib.contextmanager
def http2(_: Path) -> Iterator[dict[str, Any]]:
    with Upstream(saying(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x80", keep=False)) as server:
        yield {"url": server.url}


def at(url: str) -> Section:
    return lambda folder: contextlib.nullcontext({"url": url.replace("FOLDER", str(folder))})


APIS: dict[str, tuple[Section, str, str]] = {
    "no such name": (at("http://no-such-host.invalid"), "cannot be resolved", "host in upstream.url"),
    "refused": (
        lambda _: contextlib.nullcontext({"url": f"http://127.0.0.1:{free_port()}"}),
        "refused",
        "start the API",
    ),
    "no socket file": (at("unix://FOLDER/none.sock"), "does not exist", "path in upstream.url"),
    "silent": (silent, "no answer to OPTIONS *", "why the API takes so long"),
    "https to plain": (plain_server, "no TLS is spoken there", "write http:// in upstream.url"),
    "http to TLS": (
        changed(tls(), lambda given: {"url": given["url"].replace("https", "http")}),
        "closed it without an answer",
        "write https:// in upstream.url",
    ),
    "HTTP/2": (http2, "HTTP/2", "HTTP/1.1"),
    "expired": (tls(valid=(-48, -24)), "has expired; it is for localhost, 127.0.0.1, valid from", "renew"),
    "another CA": (changed(tls(), lambda given: {"url": given["url"]}), "no trusted CA", "upstream.tls.ca"),
    "another name": (
        tls(server_name="elsewhere.example"),
        "it is for localhost, 127.0.0.1",
        "upstream.tls.server_name",
    ),
    "wants a certificate": (tls(mutual=True), "misses one", "upstream.tls.certificate"),
}


@pytest.mark.parametrize("case", APIS)
def test_a_fault_of_the_api_has_a_cause_and_a_remedy(tmp_path: Path, case: str) -> None:
    section, found, remedy = APIS[case]
    with section(tmp_path) as upstream:
        report = examined(tmp_path, upstream)
    finding = report.of("upstream")
    assert report.code == 1
    assert finding["check"] == f"upstream {upstream['url']}"
    assert found in finding["found"], finding
    assert remedy in finding["remedy"], finding
    assert report.failed() == {finding["check"]}


def test_the_certificate_of_the_api_has_its_days(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    own = authority.issue("own", "sidecar", valid=(-1, 24 * 40 + 1))
    api = authority.issue("api", "api", valid=(-1, 24 * 10 + 1))
    section = {"ca": str(authority.ca), "certificate": str(own.certificate), "key": str(own.key)}
    with TlsUpstream(server_side(api, authority.ca)) as server:
        report = examined(tmp_path, {"url": server.url, "tls": section})
    assert report.failed() == set()
    assert "over TLSv1.3" in report.of("upstream")["found"]
    finding = report.of("certificate of https://")
    assert (finding["status"], finding["remedy"]) == ("warning", "renew the API's certificate")
    assert finding["found"].startswith("10 days left, until ")
    assert report.of("client certificate for the API")["found"].startswith("40 days left")
    assert report.of("CA of the API")["found"].startswith("0 days left")


def test_each_of_several_apis_is_looked_at(tmp_path: Path, upstream: Upstream) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    report = examined(tmp_path, {"url": [upstream.url, dead]})
    assert report.failed() == {f"upstream {dead}"}
    assert report.of(f"upstream {upstream.url}")["status"] == "ok"


# Clients.


def test_the_certificate_for_clients_is_looked_at(tmp_path: Path, upstream: Upstream) -> None:
    authority = Authority(tmp_path / "ca")
    expired = authority.issue("expired", "sidecar", valid=(-72, -48))
    section = {"certificate": str(expired.certificate), "key": str(expired.key), "client_ca": str(authority.ca)}
    report = examined(tmp_path, upstream.url, tls=section)
    assert report.failed() == {"TLS of the listener"}
    assert report.of("TLS of the listener")["found"].startswith("expired on ")
    assert "tls.certificate" in report.of("TLS of the listener")["remedy"]
    assert "issuer.example" in report.of("names in tls.certificate")["found"]
    assert report.of("CA of clients")["status"] == "warning"


# Redis.


@contextlib.contextmanager
def redis_tls(folder: Path, *options: str) -> Iterator[tuple[RedisServer, Authority]]:
    authority = Authority(folder / "ca")
    pair = authority.issue("redis", "redis", valid=(-1, 24 * 60))
    files = [
        "--tls-cert-file",
        str(pair.certificate),
        "--tls-key-file",
        str(pair.key),
        "--tls-ca-cert-file",
        str(authority.ca),
    ]
    with RedisServer(*files, *options, tls=True) as server:
        yield server, authority


def store(url: str) -> dict[str, Any]:
    return {"store": {"url": url}}


def test_redis_that_refuses_is_named_with_a_remedy(tmp_path: Path, upstream: Upstream) -> None:
    port = free_port()
    report = examined(tmp_path, upstream.url, **store(f"redis://:{PASSWORD}@127.0.0.1:{port}/0"))
    assert report.of("store")["found"] == f"127.0.0.1:{port}: no connection (Connection refused)"
    assert "start Redis" in report.of("store")["remedy"]
    assert {each["status"] for each in report.checks if each["check"].startswith("store ")} == {"skipped"}


def test_faults_of_a_running_redis_are_told_in_its_words(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer(password="right") as redis:
        wrong = f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"
        finding = examined(tmp_path, upstream.url, **store(wrong)).of("store")
        assert "WRONGPASS" in finding["found"]
        assert "password in store.url" in finding["remedy"]

        redis.command("ACL", "SETUSER", "few", "on", f">{PASSWORD}", "~*", "+@all", "-zadd", "-xadd")
        finding = examined(tmp_path, upstream.url, **store(wrong.replace("://", "://few"))).of("store rights")
        assert (finding["status"], finding["found"]) == ("failed", "the user may not run: xadd, zadd")
        assert "+xadd +zadd" in finding["remedy"]

        redis.command("ACL", "SETUSER", "none", "on", f">{PASSWORD}", "~*", "+auth")
        finding = examined(tmp_path, upstream.url, **store(wrong.replace("://", "://none"))).of("store")
        assert "NOPERM" in finding["found"]
        assert "docs/guarantees.md" in finding["remedy"]

        redis.command("ACL", "SETUSER", "blind", "on", f">{PASSWORD}", "~*", "+@all", "-info")
        report = examined(tmp_path, upstream.url, **store(wrong.replace("://", "://blind")))
        assert report.of("store data")["status"] == "skipped"
        assert report.failed() == set()


def test_the_rights_of_the_documentation_are_enough(tmp_path: Path, upstream: Upstream) -> None:
    match = re.search(r"^ACL SETUSER sidecar (.*)$", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE)
    assert match
    with RedisServer() as redis:
        redis.command("ACL", "SETUSER", "sidecar", *match[1].replace("<password>", PASSWORD).split())
        report = examined(tmp_path, upstream.url, **store(redis.url.replace("://", f"://sidecar:{PASSWORD}@")))
    assert {each["status"] for each in report.checks if each["check"].startswith("store")} <= {"ok", "warning"}


def test_redis_that_cannot_save_or_is_full_takes_no_writes(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer("--save", "3600 1", "--dbfilename", "dump.rdb") as redis:
        redis.command("SET", "a", "b")
        redis.folder.joinpath("dump.rdb").mkdir()  # so that no snapshot can take its place
        with contextlib.suppress(Exception):
            redis.command("BGSAVE")
        wait_until(lambda: b"rdb_last_bgsave_status:err" in raw_info(redis))
        finding = examined(tmp_path, upstream.url, **store(redis.url)).of("store writes")
        assert "MISCONF" in finding["found"]
        assert "cannot save" in finding["remedy"]
        redis.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        redis.command("CONFIG", "SET", "maxmemory", "1")
        finding = examined(tmp_path, upstream.url, **store(redis.url)).of("store writes")
        assert "OOM" in finding["found"]
        assert "maxmemory" in finding["remedy"]
        redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        finding = examined(tmp_path, upstream.url, **store(redis.url)).of("store data")
        assert "maxmemory-policy is allkeys-lru" in finding["found"]
        assert "noeviction" in finding["remedy"]


def raw_info(redis: RedisServer) -> bytes:
    with socket.create_connection(("127.0.0.1", redis.port), timeout=5) as connection:
        connection.sendall(b"INFO persistence\r\nQUIT\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_redis_that_loads_says_so(tmp_path: Path, upstream: Upstream) -> None:
    """By a stand-in: how long a real one loads depends on the machine."""
    with answering(b"-LOADING Redis is loading the dataset in memory\r\n") as port:
        finding = examined(tmp_path, upstream.url, **store(f"redis://127.0.0.1:{port}/0")).of("store")
    assert "LOADING Redis is loading the dataset in memory" in finding["found"]
    assert "wait until Redis has loaded" in finding["remedy"]


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that answers everything alike."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def each(taken: socket.socket) -> None:
            with contextlib.suppress(OSError), taken:
                while taken.recv(65536):
                    taken.sendall(answer)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=each, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_tls_of_redis(tmp_path: Path, upstream: Upstream) -> None:
    with redis_tls(tmp_path, "--tls-auth-clients", "no") as (redis, authority):
        good = f"rediss://127.0.0.1:{redis.tls_port}/0?ssl_ca_certs={authority.ca}"
        report = examined(tmp_path, upstream.url, **store(good))
        assert report.failed() == set()
        assert report.of(f"certificate of 127.0.0.1:{redis.tls_port}")["found"].startswith("59 days left")
        assert report.of("CA for Redis")["status"] == "warning"

        finding = examined(tmp_path, upstream.url, **store(good.partition("?")[0])).of("store")
        assert "certificate is not trusted" in finding["found"]
        assert "ssl_ca_certs of store.url" in finding["remedy"]

        finding = examined(tmp_path, upstream.url, **store(f"redis://127.0.0.1:{redis.tls_port}/0")).of("store")
        assert f"127.0.0.1:{redis.tls_port}: " in finding["found"]
        assert "rediss://" in finding["remedy"]

        finding = examined(tmp_path, upstream.url, **store(f"rediss://127.0.0.1:{redis.port}/0")).of("store TLS")
        assert finding["found"] == f"127.0.0.1:{redis.port} speaks no TLS"
        assert "write redis://" in finding["remedy"]

        missing = good.replace(str(authority.ca), "/none.pem")
        report = examined(tmp_path, upstream.url, **store(missing))
        assert "/none.pem" in report.of("CA for Redis")["found"]
        assert "ssl_ca_certs in store.url" in report.of("CA for Redis")["remedy"]


def test_a_replica_is_no_place_to_revoke(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as primary, RedisServer("--replicaof", f"127.0.0.1 {primary.port}") as replica:
        report = examined(tmp_path, upstream.url, **store(replica.url))
    assert "replica" in report.of("store")["found"]
    assert "READONLY" in report.of("store writes")["found"]
    assert "primary in store.url" in report.of("store writes")["remedy"]


def test_revocations_are_counted(tmp_path: Path, upstream: Upstream) -> None:
    with RedisServer() as redis, running(tmp_path, upstream.url, **store(redis.url)) as sidecar:
        form = {"client_id": "reporting", "client_secret": SECRET}
        for _ in range(3):
            assert get(f"{sidecar.public}/oauth/revoke", {"token": sidecar.token(), **form})[0] == 200
        report = examined(tmp_path, upstream.url, **store(redis.url))
    assert report.of("store revocations")["found"] == "3 kept in Redis"


def test_sentinels_are_counted_and_their_primary_is_looked_at(tmp_path: Path, upstream: Upstream) -> None:
    with SentinelSet() as servers:
        report = examined(tmp_path, upstream.url, **store(servers.url))
        primary = f"127.0.0.1:{servers.primary.port}"
        assert report.failed() == set()
        assert report.of("store sentinels")["found"] == f"3 of 3 name {primary}"
        assert f"at {primary}, primary" in next(each for each in report.checks if each["check"] == "store")["found"]

        finding = examined(tmp_path, upstream.url, **store(servers.url.replace(SERVICE, "other"))).of("store sentinels")
        assert (finding["status"], finding["found"]) == ("failed", "they know no primary of other")
        assert "service in store.url" in finding["remedy"]

        servers.sentinels[0].kill()
        finding = examined(tmp_path, upstream.url, **store(servers.url)).of("store sentinels")
        assert finding["status"] == "warning"
        assert f"127.0.0.1:{servers.sentinels[0].port}: no connection" in finding["found"]

        servers.sentinels[1].kill()
        report = examined(tmp_path, upstream.url, **store(servers.url))
        assert "no majority" in report.of("store sentinels")["found"]
        assert report.code == 1


def test_every_partition_of_a_cluster_is_looked_at(tmp_path: Path, upstream: Upstream) -> None:
    with ClusterSet(node_timeout=20_000) as servers:
        report = examined(tmp_path, upstream.url, **store(servers.url))
        assert report.failed() == set()
        places = [each for each in report.checks if each["check"] == "store"]
        assert len(places) == 3
        assert report.of("store partitions")["found"].startswith("all 16 have a primary that answers")

        with running(tmp_path, upstream.url, **store(servers.url)):
            pass
        section = {"store": {"url": servers.url, "partitions": 8}}
        finding = examined(tmp_path, upstream.url, **section).of("store partitions")
        assert finding["found"] == "the data in Redis has 16 partitions, and store.partitions is 8"
        assert finding["remedy"] == "set store.partitions to 16, or choose another store.prefix"

        servers.servers[0].kill()
        report = examined(tmp_path, upstream.url, **store(servers.url))
        assert f"127.0.0.1:{servers.servers[0].port}: no connection" in report.of("store")["found"]
        assert re.search(r"of 16 partitions\)$", report.of("store")["found"])
        assert report.of("store partitions")["status"] == "failed"


# Listeners.


def addresses(sidecar: Sidecar) -> dict[str, Any]:
    return {
        "listen": sidecar.public.partition("://")[2],
        "admin": {"listen": sidecar.admin.partition("://")[2]},
    }


def test_a_running_sidecar_is_no_fault(tmp_path: Path, upstream: Upstream) -> None:
    public, admin = free_port(), free_port()
    sections = {"listen": f"127.0.0.1:{public}", "admin": {"listen": f"127.0.0.1:{admin}"}}
    with running(tmp_path, upstream.url, **sections):
        report = examined(tmp_path, upstream.url, **sections)
        assert report.failed() == set()
        assert report.of("listen")["found"] == "in use by a running sidecar"
        assert "in use by a running sidecar (0." in report.of("admin.listen")["found"]
        assert report.of("running sidecar")["found"] == "ready, with this configuration"

        finding = examined(tmp_path, upstream.url, **sections, compat="rfc").of("running sidecar")
        assert finding["status"] == "warning"
        assert finding["remedy"] == f"sidecar reload --config {tmp_path / 'doctor.yaml'}"


def test_what_a_running_sidecar_says_about_itself_is_told(tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with Sidecar(tmp_path, configuration(dead)) as sidecar:
        finding = examined(tmp_path, dead, **addresses(sidecar)).of("running sidecar")
    assert finding["status"] == "failed"
    assert f"upstream: the API server does not accept connections: {dead}: nothing listens" in finding["found"]


def test_an_address_that_another_process_has_is_a_fault(tmp_path: Path, upstream: Upstream) -> None:
    with black_hole() as public, Upstream() as other:
        sections = {"listen": f"127.0.0.1:{public}", "admin": {"listen": other.url.removeprefix("http://")}}
        report = examined(tmp_path, upstream.url, **sections)
    assert report.failed() == {f"listen 127.0.0.1:{public}", f"admin.listen {sections['admin']['listen']}"}
    assert report.of("listen")["found"] == "in use by another process"
    assert f"ss -ltnp 'sport = :{public}'" in report.of("listen")["remedy"]
    assert "another port in admin.listen" in report.of("admin.listen")["remedy"]


def test_an_address_that_is_not_of_this_machine_is_a_fault(tmp_path: Path, upstream: Upstream) -> None:
    finding = examined(tmp_path, upstream.url, listen="203.0.113.1:3030").of("listen")
    assert finding["status"] == "failed"
    assert "address of this machine" in finding["remedy"]


# Keys.


def test_a_key_that_ends_soon_without_a_successor_is_told(tmp_path: Path, upstream: Upstream) -> None:
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5 * 86400))
    keys = [{"kid": "old", "alg": "HS256", "secret": KEY, "not_after": end}]
    tokens = {"issuer": ISSUER, "audience": "api", "signing_keys": keys}
    finding = examined(tmp_path, upstream.url, tokens=tokens).of("signing keys")
    assert finding["status"] == "warning"
    assert "sidecar keys generate" in finding["remedy"]
    following = {"kid": "new", "alg": "HS256", "secret": KEY[::-1]}
    tokens = {**tokens, "signing_keys": [*keys, following]}
    finding = examined(tmp_path, upstream.url, tokens=tokens).of("signing keys")
    assert finding["status"] == "ok"
    assert finding["found"].endswith(", then new")


# Time.


@pytest.mark.parametrize("kind", ["redis", "rediss", "redis+sentinel", "redis+cluster"])
def test_black_holes_do_not_hold_it_up(tmp_path: Path, kind: str) -> None:
    """Each gives up by itself, and the process ends in time."""
    with contextlib.ExitStack() as stack:
        one, two, three, four, *hosts = (stack.enter_context(black_hole()) for _ in range(7))
        where = ",".join(f"127.0.0.1:{port}" for port in (hosts if "+" in kind else hosts[:1]))
        url = f"{kind}://:{PASSWORD}@{where}{'/x' if 'sentinel' in kind else ''}"
        upstream = {"url": [f"http://127.0.0.1:{one}", f"https://127.0.0.1:{two}"]}
        sections = {"listen": f"127.0.0.1:{three}", "admin": {"listen": f"127.0.0.1:{four}"}}
        report = examined(tmp_path, upstream, **store(url), **sections)
    assert report.code == 1
    failed = report.failed()
    assert {f"upstream {each}" for each in upstream["url"]} <= failed
    assert {
        "store",
        f"listen 127.0.0.1:{three}",
        f"admin.listen 127.0.0.1:{four}",
    } <= failed or "store sentinels" in failed
    assert report.of("signing keys")["status"] == "ok", "the others are not held up"
    assert not any("no result within" in each["found"] for each in report.checks), report.text
