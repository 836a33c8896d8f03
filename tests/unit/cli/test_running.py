"""`sidecar reload`, `drain` and `roll`, as far as they need no sidecar: `tests/e2e/test_reload.py` has the others."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.support.command import run
from tests.support.process import configuration
from tests.support.redis import free_port

COMMANDS = ("reload", "drain", "roll")


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that gives one answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            taken, _ = server.accept()
            with taken:
                taken.recv(1000)
                taken.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(5)


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_sidecar_the_address_is_named(command: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    result = run(command, "--admin", address)
    assert result.exit_code == 1
    assert f"no sidecar answers at {address}: Connection refused" in result.output


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
def test_something_else_is_not_taken_for_a_sidecar(command: str, answer: bytes) -> None:
    with answering(answer) as address:
        result = run(command, "--admin", address)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert address in result.output


def test_the_file_names_the_listener_even_if_it_has_faults(tmp_path: Path) -> None:
    port = free_port()
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump({**configuration("x"), "admin": {"listen": f"0.0.0.0:{port}"}, "nonsense": 1}))
    assert f"127.0.0.1:{port}" in run("reload", "--config", str(path)).output


@pytest.mark.parametrize(("listen", "text"), [("127.0.0.1:0", "port 0"), ("nonsense", "HOST:PORT"), (5, "HOST:PORT")])
def test_a_listener_that_cannot_be_found_is_a_wrong_usage(tmp_path: Path, listen: object, text: str) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump({"admin": {"listen": listen}}))
    result = run("drain", "--config", str(path))
    assert (result.exit_code, text in result.output) == (2, True)
    path.write_text("{")
    assert run("drain", "--config", str(path)).exit_code == 2
