"""The demo's API on its own, as the README starts it."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.process import get
from tests.support.redis import free_port


@contextmanager
def started(listen: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sidecar.demo_api", "--listen", listen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_it_says_where_it_is_once_it_is_there() -> None:
    port = free_port()
    with started(f"127.0.0.1:{port}") as process:
        assert process.stdout
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line
        assert get(f"http://127.0.0.1:{port}/health")[0] == 200


def test_a_port_that_is_taken_is_said_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, started(f"127.0.0.1:{taken.getsockname()[1]}") as process:
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (1, "")
        assert err.startswith("Error: cannot listen on 127.0.0.1:")
        assert "Traceback" not in err


@pytest.mark.parametrize("listen", ["3080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_a_usage_error(listen: str) -> None:
    with started(listen) as process:
        _, err = process.communicate(timeout=30)
        assert process.returncode == 2
        assert "HOST:PORT" in err
