"""The real `sidecar` process, started with a real configuration file."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml

from tests.support.redis import RedisServer

ISSUER = "https://issuer.example"
AUDIENCE = "api"
KEY = "0123456789abcdef0123456789abcdef"
KID = "k1"
SECRET = "reporting-secret"
COMMAND = (sys.executable, "-m", "sidecar")

UNTHROTTLED: Final = dict.fromkeys(
    (
        "failures_per_address",
        "failures_per_client",
        "failures_per_client_and_address",
        "failed_logins_per_address",
        "failed_logins_per_user",
        "failed_logins_per_user_and_address",
    ),
    "off",
)
"""A section `throttling` for tests that fail to authenticate, or log in, more often than anybody should."""


def configuration(upstream: str | Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """A small whole configuration on free ports, for an upstream's address or whole section; `sections` replace or add
    top-level keys."""
    return {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "upstream": {"url": upstream} if isinstance(upstream, str) else dict(upstream),
        "tokens": {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "signing_keys": [{"kid": KID, "alg": "HS256", "secret": KEY}],
        },
        "clients": [
            {
                "client_id": "reporting",
                "client_secret": SECRET,
                "grant_types": ["client_credentials"],
                "scope": "orders:read orders:write",
                "roles": ["analyst"],
            },
            {
                "client_id": "other",
                "client_secret": "other-secret",
                "grant_types": ["client_credentials"],
                "scope": "orders:read",
            },
        ],
        **sections,
    }


class Sidecar:
    """A running sidecar. `public` and `admin` are its URLs, `logs` every line that it wrote.

    `config` is the path of a configuration file, or its content, which is written to `folder`. `once` is the event to wait
    for: `listening`, or `starting` for a sidecar whose public port does not open yet.
    """

    def __init__(
        self,
        folder: Path,
        config: Path | Mapping[str, Any],
        command: Sequence[str] = COMMAND,
        *,
        once: str = "listening",
    ) -> None:
        if isinstance(config, Path):
            path = config
        else:
            path = folder / "sidecar.yaml"
            path.write_text(yaml.safe_dump(dict(config)))
        self.logs: list[str] = []
        self.expected_code = 0
        self._once = once
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen([*command, "serve", "--config", str(path)], stderr=subprocess.PIPE, text=True)
        self._pump = threading.Thread(target=self._read, daemon=True)
        self._pump.start()
        self.public, self.admin = self._wait_for_start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.logs.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _wait_for_start(self) -> tuple[str, str]:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=0.1)
                assert line is not None, "the sidecar ended: " + "".join(self.logs)
                with contextlib.suppress(ValueError):
                    record = json.loads(line)
                    if record.get("event") == self._once:
                        return record["public"], record["admin"]
        raise AssertionError("the sidecar did not start: " + "".join(self.logs))

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the public listener."""
        host, _, port = self.public.partition("://")[2].rpartition(":")
        return host, int(port)

    def records(self, event: str) -> list[dict[str, Any]]:
        """The log records of one kind."""
        found = []
        for line in self.logs:
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if record.get("event") == event:
                    found.append(record)
        return found

    def record(self, event: str, *, within: float = 5, **fields: Any) -> dict[str, Any]:
        """The first log record of this kind with these fields; waits for it."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for record in self.records(event):
                if all(record.get(name) == value for name, value in fields.items()):
                    return record
            time.sleep(0.01)
        raise AssertionError(f"no {event} {fields} in " + "".join(self.logs))

    def ready(self, *, within: float = 10) -> Self:
        """Wait until `/readyz` says yes, and that the store answers as well."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            status, text = get(f"{self.admin}/readyz")
            if status == 200 and json.loads(text)["checks"].get("store", "ok") == "ok":
                return self
            time.sleep(0.02)
        raise AssertionError(f"not ready: {get(f'{self.admin}/readyz')} " + "".join(self.logs))

    def token(self, client: str = "reporting", secret: str = SECRET, **fields: str) -> str:
        """A token from the real endpoint."""
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, **fields}
        status, body = get(f"{self.public}/oauth/token", form)
        assert status == 200, body
        token: str = json.loads(body)["access_token"]
        return token

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of `/metrics` with these labels. There must be a metric of this name."""
        _, text = get(f"{self.admin}/metrics")
        family = name.removesuffix("_count").removesuffix("_sum").removesuffix("_bucket")
        assert f"# TYPE {family} " in text, f"there is no {name}"
        total = 0.0
        for line in text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(f'{key}="{wanted}"' in head for key, wanted in labels.items()):
                total += float(value)
        return total

    def workers(self) -> list[int]:
        """The ids of its worker processes; none when it serves alone."""
        found = []
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def signal_workers(self, number: signal.Signals) -> None:
        """Send a signal to every process that serves."""
        for pid in self.workers() or [self.process.pid]:
            os.kill(pid, number)

    def kill(self) -> None:
        """`kill -9`; `stop` expects that end then."""
        self.process.kill()
        self.process.wait()
        self.expected_code = -signal.SIGKILL

    def stop(self, *, expect: int | None = 0) -> None:
        """SIGTERM, and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        except BaseException:  # late, or the time of the test is over
            self.process.kill()
            self.process.wait()
            raise
        self._pump.join(5)
        assert self.process.stderr
        self.process.stderr.close()
        assert expect is None or code == expect, (code, "".join(self.logs))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(expect=self.expected_code if kind is None else None)


def events(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    """The log records as they come."""
    assert process.stderr
    for line in process.stderr:
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def get(url: str, form: Mapping[str, str] | None = None, **headers: str) -> tuple[int, str]:
    """GET, or POST of a form: status and text. Underscores in header names become hyphens."""
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


@contextlib.contextmanager
def running(folder: Path, upstream: str | Mapping[str, Any], **sections: Any) -> Iterator[Sidecar]:
    """A sidecar that is ready, with `configuration(upstream, **sections)`."""
    with Sidecar(folder, configuration(upstream, **sections)) as sidecar:
        yield sidecar.ready()


@contextlib.contextmanager
def running_on(store: str, folder: Path, upstream: str, **sections: Any) -> Iterator[Sidecar]:
    """A sidecar that is ready: one worker on its own `memory`, or two on a `redis` of their own."""
    if store == "memory":
        with running(folder, upstream, **sections) as sidecar:
            yield sidecar
        return
    with RedisServer() as redis, running(folder, upstream, store={"url": redis.url}, workers=2, **sections) as sidecar:
        yield sidecar
