"""What a newcomer starts without a file: `sidecar proxy` and `sidecar demo`."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.process import COMMAND, get
from tests.support.redis import free_port
from tests.support.upstream import Upstream
from tests.support.walk import script


@contextmanager
def proxy(*options: str) -> Iterator[IO[str]]:
    """The command, on free ports; gives its stdout, and ends it in order."""
    words = [*COMMAND, "proxy", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def until(stdout: IO[str], text: str) -> str:
    """What it prints up to a line that contains a text."""
    lines = []
    for line in stdout:
        lines.append(line)
        if text in line:
            break
    return "".join(lines)


def test_an_api_is_guarded_without_a_file() -> None:
    with Upstream() as upstream, proxy("--upstream", upstream.url, "--public", "/health", "--json") as stdout:
        shown = json.loads(stdout.readline())
        url, form = shown["url"], {"grant_type": "client_credentials", "client_id": shown["client_id"]}
        assert get(f"{url}/x")[0] == 401
        assert get(f"{url}/health")[0] == 200
        status, body = get(f"{url}/oauth/token", {**form, "client_secret": shown["client_secret"]})
        assert status == 200
        token = json.loads(body)["access_token"]
        assert get(f"{url}/x", Authorization=f"Bearer {token}")[0] == 200
        assert get(f"{shown['admin']}/readyz")[0] == 200
        assert get(f"{url}/oauth/token", {**form, "client_secret": "guess"})[0] == 401


def test_what_it_prints_can_be_pasted() -> None:
    with Upstream() as upstream, proxy("--upstream", upstream.url) as stdout:
        said = until(stdout, "sidecar init")
        commands = re.search(r"^  TOKEN=.*?\"$", said, re.MULTILINE | re.DOTALL)
        assert commands
        done = subprocess.run(["bash", "-c", commands[0]], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout.startswith("HTTP/1.1 200")
        (secret,) = re.findall(r"client_secret: (\w{64})", said)
        assert secret not in done.stdout


@pytest.mark.parametrize("secret", ["first", "second"])
def test_each_start_has_another_secret(secret: str, seen: set[str]) -> None:
    with Upstream() as upstream, proxy("--upstream", upstream.url, "--json") as stdout:
        shown = json.loads(stdout.readline())["client_secret"]
    assert shown not in seen
    seen.add(shown)


@pytest.fixture(scope="module")
def seen() -> set[str]:
    return set()


def test_an_address_in_use_is_named_before_any_secret_is_shown() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = [*COMMAND, "proxy", "--upstream", "http://127.0.0.1:1", "--listen", "127.0.0.1:0", "--admin", address]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert address in done.stderr
    assert "--admin" in done.stderr


@pytest.mark.parametrize("browser", [True, False])
def test_the_demo_opens_its_console(tmp_path: Path, *, browser: bool) -> None:
    """In the browser that BROWSER names; without one it says where the console is."""
    opened = tmp_path / "opened"
    script(tmp_path / "browser", f'#!/bin/sh\necho "$1" > {opened}\n' if browser else "#!/bin/sh\nexit 1\n")
    environment = {**os.environ, "BROWSER": f"{tmp_path}/browser %s", "PATH": str(tmp_path)}
    words = [*COMMAND, "demo", "--open", "--port", "0", "--admin-port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        try:
            said = until(process.stdout, "Ctrl-C stops it")
            (console,) = re.findall(r"^The console shows what happens: (\S+)$", said, re.MULTILINE)
            status, page = get(f"{console}/")
            assert (status, "<title>" in page) == (200, True)
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert opened.exists() == browser
    if browser:
        assert opened.read_text().strip() == console
    else:
        assert f"open {console} yourself" in errors
