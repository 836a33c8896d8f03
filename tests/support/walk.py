"""A reader who follows a document from top to bottom, in an empty folder with nothing but a clone in it.

What differs from a reader's machine is here: ports (the documents' own may be taken), and how the sidecar is installed when
a test is not to download anything.
"""

import contextlib
import json
import re
import socket
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from tests.support.documents import ROOT, Step, clone, steps
from tests.support.process import get
from tests.support.redis import free_port
from tests.support.terminal import Terminal

INSTALL: Final = "../sidecar-venv/bin/pip install ."
WALK: Final = ("README.md", "docs/clients.md", "docs/login.md", "docs/operations.md")
"""The documents of one walk: each continues where the one before it ends, in the same terminal."""
_CONFIG: Final = "sidecar.yaml"


class Ports(NamedTuple):
    """Free ones, in the places of those that the documents name."""

    public: int
    admin: int
    api: int
    redis: int
    front: int  # of a proxy in front of the sidecar
    prometheus: int

    def put_into(self, text: str) -> str:
        """The same text, for these ports and for loopback alone."""
        listen = f"listen: 127.0.0.1:{self.public}\nadmin: {{listen: 127.0.0.1:{self.admin}}}"
        text = re.sub(r"listen: [\d.]+:3030", listen, text)
        text = re.sub(
            r"\bsidecar proxy\b", f"\\g<0> --listen 127.0.0.1:{self.public} --admin 127.0.0.1:{self.admin}", text
        )
        for old, new in (
            ("3030", self.public),
            ("9464", self.admin),
            ("3080", self.api),
            ("6379", self.redis),
            ("8443", self.front),
            ("9090", self.prometheus),
        ):
            text = re.sub(rf"\b{old}\b", str(new), text)
        text = text.replace("python -m sidecar.demo_api", f"python -m sidecar.demo_api --listen 127.0.0.1:{self.api}")
        ports = f"--port {self.public} --admin-port {self.admin}"
        return re.sub(r"^make run(?: ARGS=(\S*))?$", rf"make run ARGS='\1 {ports}'", text)


class Ran(NamedTuple):
    """A step that was done, and what it printed."""

    step: Step
    output: str


class Place:
    """A folder with a clone, `auth-sidecar`, and a terminal in it."""

    def __init__(self, folder: Path, terminal: Terminal) -> None:
        self.folder, self.terminal = folder, terminal
        self.clone = folder / "auth-sidecar"
        self.ports = Ports(*(free_port() for _ in Ports._fields))
        self.public, self.admin = (f"http://127.0.0.1:{port}" for port in self.ports[:2])

    def type(self, step: Step, typed: str = "") -> Ran:
        """Do a step, wait for what it starts, and compare what it prints with what the document shows."""
        command = self.ports.put_into(step.command)
        if step.yaml:
            self._edit(command)
            return Ran(step, "")
        if step.command == "make run":
            output = self.terminal.foreground(command, until="Ctrl-C stops it")
        else:
            until, within = "listens on" if "demo_api" in command else "", 240 if command.startswith("until ") else 60
            output = self.terminal.run(command, typed=typed, until=until, within=within)
        self._settle(command)
        compare(step, output)
        return Ran(step, output)

    def _edit(self, text: str) -> None:
        """Put lines into the reader's sidecar.yaml: what has a name takes the place of its namesake."""
        path = self.folder / "orders" / _CONFIG
        assert path.exists(), f"where is {_CONFIG}? {path}"
        document = yaml.safe_load(path.read_text())
        for section, value in yaml.safe_load(text).items():
            if isinstance(value, list):
                names = {each["client_id"] for each in value}
                value = [each for each in document[section] if each["client_id"] not in names] + value  # noqa: PLW2901
            document[section] = value
        path.write_text(yaml.safe_dump(document))

    def _settle(self, command: str) -> None:
        """Give a configuration that was made the ports of this place, and wait for what was started."""
        made = re.search(r"sidecar init (\S+)", command)
        if made:
            path = Path(self.terminal.run("pwd").strip(), made[1], _CONFIG)
            path.write_text(self.ports.put_into(path.read_text()))
        if "sidecar serve" in command or "sidecar proxy" in command:
            wait(lambda: json.loads(get(f"{self.admin}/readyz")[1])["checks"].get("store") == "ok", self._trouble)
        servers = {
            "redis-server --port": self.ports.redis,
            "nginx -p": self.ports.front,
            "prometheus --": self.ports.prometheus,
        }
        for server, port in servers.items():
            if server in command:
                wait(lambda port=port: not socket.create_connection(("127.0.0.1", port), 1).close(), self._trouble)  # type: ignore[misc]

    def _trouble(self) -> str:
        return self.terminal.errors.read_text(errors="replace")[-3000:]

    def install(self) -> None:
        """What `INSTALL` does, without a download: the virtual environment gets the clone's code, and borrows the libraries
        that these tests run with."""
        venv = self.folder / "sidecar-venv"
        (packages,) = venv.glob("lib/python*/site-packages")
        (packages / "sidecar.pth").write_text(f"{self.clone}\n{sysconfig.get_path('purelib')}\n")
        script(
            venv / "bin" / "sidecar",
            f"#!{venv}/bin/python\nfrom sidecar.cli import main\nif __name__ == '__main__':\n    main()\n",
        )

    def install_for_make(self) -> None:
        """What the Makefile makes before it runs the demo, likewise."""
        binaries = self.clone / ".venv" / "bin"
        script(binaries / "pip", "#!/bin/sh\necho nothing is installed here >&2\nexit 1\n")
        script(binaries / "sidecar", f'#!/bin/sh\nexec {sys.executable} -m sidecar "$@"\n')
        (self.clone / ".venv" / ".runs").touch()


def script(path: Path, text: str) -> None:
    """A file to run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def wait(condition: Callable[[], Any], trouble: Callable[[], str], within: float = 30) -> None:
    """Until it holds; as long as nobody listens it does not."""
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline, trouble()
        time.sleep(0.02)


def compare(step: Step, output: str) -> None:
    """Every line that the document shows is there, in this order; `…` stands for anything."""
    lines = iter(output.replace("\r", "").splitlines())
    for line in filter(None, step.shown):
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        assert any(pattern.fullmatch(each) for each in lines), f"{step.command}\nshown: {line}\nprinted: {output}"


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A clone on a machine that has the usual programs and this Python, and nothing of ours."""
    (folder / "auth-sidecar").mkdir()
    clone(folder / "auth-sidecar")
    base = sys._base_executable  # type: ignore[attr-defined]
    script(folder / "bin" / "python3", f'#!/bin/sh\nexec {base} "$@"\n')
    environment = {
        "PATH": f"{folder}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
    }
    with Terminal(folder / "auth-sidecar", environment, folder / "errors") as terminal:
        made = Place(folder, terminal)
        for config in (*(made.clone / "config").glob("*.yaml"), made.clone / "deploy/prometheus/prometheus.yaml"):
            config.write_text(made.ports.put_into(config.read_text()))
        yield made


def steps_of(name: str) -> list[Step]:
    """What a document of this repository says."""
    return steps((ROOT / name).read_text())
