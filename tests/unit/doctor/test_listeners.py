"""Who is at the addresses."""

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.load import load
from sidecar.config.settings import Address, Settings
from sidecar.doctor.listeners import Running, admin_findings, issuer_at, public_finding, running_at
from tests.support.process import ISSUER, configuration

IN_USE = OSError(errno.EADDRINUSE, "Address already in use")
RUNNING = Running("1.0", {"store": "ok"}, 0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "sidecar.yaml"
    sections: dict[str, Any] = {"listen": "127.0.0.1:3030", "admin": {"listen": "127.0.0.1:9464"}}
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1", **sections)))
    return load(path)


@pytest.mark.parametrize(
    ("fault", "issuer", "running", "status", "text"),
    [
        (None, "", None, "ok", "free"),
        (IN_USE, ISSUER, None, "ok", "in use by a running sidecar"),
        (IN_USE, "", RUNNING, "ok", "in use by a running sidecar"),
        (IN_USE, "https://other", RUNNING, "failed", "a sidecar for https://other"),
        (IN_USE, "", None, "failed", "another process"),
        (OSError(errno.EACCES, "Permission denied"), "", None, "failed", "Permission denied"),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign"), "", None, "failed", "Cannot assign"),
        (socket.gaierror(-2, "Name or service not known"), "", None, "failed", "Name or service not known"),
    ],
)
def test_the_public_address(
    settings: Settings, fault: OSError | None, issuer: str, running: Running | None, status: str, text: str
) -> None:
    finding = public_finding(settings, fault, issuer, running)
    assert finding.status.value == status
    assert text in finding.found
    assert bool(finding.remedy) is (status == "failed")


@pytest.mark.parametrize(
    ("running", "status", "text"),
    [
        (RUNNING, "warning", "another configuration"),
        (Running("1.0", {"store": "stale", "upstream": "ok"}, 0), "failed", "it says store: stale"),
        (Running("1.0", {"draining": "the worker is going away"}, 0), "warning", "going away"),
    ],
)
def test_what_a_running_sidecar_says(settings: Settings, running: Running, status: str, text: str) -> None:
    first, state = admin_findings(settings, IN_USE, running)
    assert first.found == "in use by a running sidecar (1.0)"
    assert state.status.value == status
    assert text in state.found


def test_the_same_configuration_is_recognised(settings: Settings) -> None:
    _, state = admin_findings(settings, IN_USE, RUNNING._replace(digest=settings.digest))
    assert state.found == "ready, with this configuration"


def test_the_admin_address_of_another_process(settings: Settings) -> None:
    (finding,) = admin_findings(settings, IN_USE, None)
    assert finding.status.value == "failed"
    (finding,) = admin_findings(settings, None, None)
    assert finding.found == "free"


@contextmanager
def answering(body: bytes) -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    taken, _ = server.accept()
                    with taken:
                        taken.recv(65536)
                        taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        threading.Thread(target=serve, daemon=True).start()
        yield Address("127.0.0.1", server.getsockname()[1])


@pytest.mark.parametrize("body", [b"", b"hello", b"{}", b"[]", b'{"issuer": 1}', b"\xff"])
def test_something_else_is_not_taken_for_a_sidecar(settings: Settings, body: bytes) -> None:
    with answering(body) as address:
        assert running_at(address, 5.0) is None
        listen = settings.listen.model_copy(update={"address": address})
        assert issuer_at(settings.model_copy(update={"listen": listen}), 5.0) == ""


def test_what_it_says_is_one_line(settings: Settings) -> None:
    with answering(b'{"issuer": "https://a\\n\\u001b[31m"}') as address:
        listen = settings.listen.model_copy(update={"address": address})
        assert issuer_at(settings.model_copy(update={"listen": listen}), 5.0) == "https://a  [31m"


def test_a_version_alone_is_enough() -> None:
    with answering(b'sidecar_build_info{python="3",version="9.9"} 1.0\nsidecar_config_hash 1.5e+01\n') as address:
        assert running_at(address, 5.0) == Running("9.9", {"readyz": "its answer cannot be read"}, 15)
