"""Tokens where callers should not put them: none of it stands in what the process writes."""

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.support.process import COMMAND, SECRET, configuration, get
from tests.support.raw import exchange
from tests.support.redis import free_port
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

CLIENT = {"client_id": "reporting", "client_secret": SECRET}
CLIENTS = [{**CLIENT, "grant_types": ["client_credentials", "refresh_token"], "scope": "orders:read"}]


def encoded(text: str) -> str:
    return "".join(f"%{ord(character):02x}" for character in text)


def spellings(token: str) -> list[str]:
    every = encoded(token)
    return [
        token,
        f"%{ord(token[0]):02X}{token[1:]}",
        token.replace(".", "%2E"),
        every,
        every.upper(),
        quote(every, safe=""),
    ]


def ask(address: tuple[str, int], method: str, target: str, *lines: str) -> None:
    head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *lines, "Connection: close", "", ""])
    with contextlib.suppress(OSError):
        exchange(address, head.encode(), method)


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_token_in_a_path_or_a_method_is_logged(tmp_path: Path, upstream: Upstream, form: str) -> None:
    """Admitted, refused and answered by ourselves; an access token and a refresh token; in every spelling."""
    public, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    logging = {"admitted": "info", "level": "debug", "format": form}
    config: dict[str, Any] = configuration(
        upstream.url, clients=CLIENTS, logging=logging, listen=public, admin={"listen": admin}
    )
    log = tmp_path / "log"
    with log.open("wb") as file:
        sidecar = start(tmp_path, config, file)
    try:
        wait_until(lambda: answers(admin), within=30)
        answer = json.loads(get(f"http://{public}/oauth/token", {"grant_type": "client_credentials", **CLIENT})[1])
        tokens = [answer["access_token"], answer["refresh_token"]]
        host, _, port = public.partition(":")
        address = (host, int(port))
        bearer = f"Authorization: Bearer {tokens[0]}"
        for token in tokens:
            for spelled in spellings(token):
                for target in (
                    f"/orders/{spelled}",
                    f"/oauth/{spelled}",
                    f"/a/../{spelled}/x",
                    "/" + "x" * 900 + f"/{spelled}",
                ):
                    ask(address, "GET", target, bearer)
                    ask(address, "GET", target)
                ask(address, "GET", f"/\\{spelled}")
                ask(address, "GET", f"http://a/{spelled}")
            ask(address, token, "/orders", bearer)
            ask(address, "GET", "/orders", f"{token}: {token}", f"X: {token}")
            ask(address, "GET", "/orders", f"Bearer {token}")
        last = "/the-last-one"
        ask(address, "GET", last)
        wait_until(lambda: last in log.read_text(), within=30)
    finally:
        sidecar.terminate()
        assert sidecar.wait(30) == 0
    text = log.read_text()
    assert text.count("[token]") >= 2 * 6 * 6
    for token in tokens:
        secret = token.rpartition(".")[2]
        for part in (secret, secret[:30]):
            assert part not in text
            assert part not in unquote(text)
            assert part not in unquote(unquote(text))


def start(folder: Path, config: dict[str, Any], stderr: Any) -> "subprocess.Popen[bytes]":
    path = folder / "sidecar.yaml"
    path.write_text(json.dumps(config))
    return subprocess.Popen([*COMMAND, "serve", "--config", str(path)], stderr=stderr)


def answers(admin: str) -> bool:
    try:
        return get(f"http://{admin}/readyz")[0] == 200
    except OSError:
        return False
