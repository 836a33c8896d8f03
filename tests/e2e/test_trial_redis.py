"""The Redis of the overlay `redis-sentinel`: its script, for three pods that have names and addresses of their own."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.manifests import K8S, SENTINELS
from tests.support.process import COMMAND, KEY, SECRET, configuration
from tests.support.waiting import wait_until

PASSWORD: Final = "0123456789abcdef"
PODS: Final = ("redis-0", "redis-1", "redis-2")
LOCAL: Final = {name: f"127.0.1.{number}" for number, name in enumerate(PODS, 1)}
pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None, reason="makes namespaces: takes root and unshare"
    ),
]


class Trial:
    """The pods, in a network and with a file of hosts of their own. The folders of the script are below `folder` here, and each
    process listens at the address of its pod."""

    def __init__(self, folder: Path, space: int, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._inside = ["nsenter", f"--target={space}", "--mount", "--net", "env", f"REDISCLI_AUTH={PASSWORD}"]
        self._stack = stack
        self._processes: dict[str, list[subprocess.Popen[bytes]]] = {}

    def start(self, pod: str) -> None:
        """Without any data."""
        self._processes[pod] = []
        for kind in ("server", "sentinel"):
            data = self._folder / f"{pod}.{kind}"
            shutil.rmtree(data, ignore_errors=True)
            data.mkdir()
            text = (K8S / "overlays" / "redis-sentinel" / "start.sh").read_text()
            assert text.count("exec redis-server /data/") == 2
            text = text.replace(
                "exec redis-server", f"echo 'bind {LOCAL[pod]}' >> /data/$(basename /data/*.conf); exec redis-server"
            )
            script = data.with_suffix(f".{kind}.sh")
            script.write_text(text.replace("/data", str(data)).replace("/etc/redis-secret", str(self._folder)))
            command = [*self._inside, f"HOSTNAME={pod}", "sh", str(script), kind]
            log = self._stack.enter_context(data.with_suffix(f".{kind}.log").open("ab"))
            process = self._stack.enter_context(subprocess.Popen(command, stdout=log))
            self._stack.callback(process.kill)
            self._processes[pod].append(process)

    def kill(self, pod: str) -> None:
        for process in self._processes[pod]:
            process.kill()
            process.wait()

    def primaries(self) -> set[str]:
        """Whom the sentinels name, as far as they answer, and who says so of itself with two replicas."""
        found = set()
        for pod in PODS:
            named = self.ask(pod, 26379, "sentinel", "get-master-addr-by-name", "orders")
            found |= set(named.splitlines()[:1])
            role = self.ask(pod, 6379, "role").splitlines()
            if role[:1] == ["master"]:
                found.add(f"{pod}.redis" if role.count("6379") == len(PODS) - 1 else f"{pod} with too few replicas")
        return found

    def is_complete(self) -> bool:
        """Each sentinel knows both replicas and both other sentinels, which takes it up to ten seconds."""
        texts = [self.ask(pod, 26379, "sentinel", "master", "orders").splitlines() for pod in PODS]
        return all(
            text[text.index(name) + 1] == "2"
            for text in texts
            if text
            for name in ("num-slaves", "num-other-sentinels")
        ) and all(texts)

    def ask(self, pod: str, port: int, *words: str) -> str:
        done = subprocess.run(
            [*self._inside, "redis-cli", "-h", f"{pod}.redis", "-p", str(port), *words],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        return done.stdout

    def is_sound(self) -> bool:
        """By `sidecar doctor`: it has no remark about the store."""
        url = f"redis+sentinel://:{PASSWORD}@{SENTINELS}/orders/0?sentinel_password={PASSWORD}"
        config = configuration("http://127.0.0.1:3080", store={"url": url})
        file = self._folder / "sidecar.yaml"
        file.write_text(yaml.safe_dump(config))
        done = subprocess.run(
            [*self._inside, *COMMAND, "doctor", "--json", "--config", str(file)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert KEY not in done.stdout
        assert SECRET not in done.stdout
        checks = [check for check in json.loads(done.stdout)["checks"] if check["check"].startswith("store")]
        assert len(checks) > 4
        return {check["status"] for check in checks} == {"ok"}


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{LOCAL[pod]} {pod}.redis\n" for pod in PODS))
    (tmp_path / "password").write_text(PASSWORD)
    make = f"ip link set lo up && mount --bind {tmp_path}/hosts /etc/hosts && echo made && exec sleep infinity"
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(
            subprocess.Popen(["unshare", "--mount", "--net", "sh", "-c", make], stdout=subprocess.PIPE)
        )
        stack.callback(space.kill)
        assert space.stdout
        assert space.stdout.readline() == b"made\n"
        trial = Trial(tmp_path, space.pid, stack)
        for pod in ("redis-1", "redis-2"):
            trial.start(pod)
        wait_until(lambda: trial.primaries() == {"redis-0.redis"}, within=30)  # named, and not there yet
        trial.start("redis-0")
        yield trial


def test_the_sentinels_agree_fail_over_and_take_back_who_lost_everything(trial: Trial) -> None:
    """The primary comes back at once, without its data, while the sentinels still name it: it does not empty its replicas."""
    wait_until(trial.is_sound, within=60)
    wait_until(trial.is_complete, within=60)
    trial.ask("redis-0", 6379, "set", "kept", "yes")
    trial.ask("redis-0", 6379, "wait", "2", "5000")
    trial.kill("redis-0")
    trial.start("redis-0")
    wait_until(lambda: trial.primaries() in ({"redis-1.redis"}, {"redis-2.redis"}), within=90)
    for pod in PODS:
        wait_until(lambda pod=pod: trial.ask(pod, 6379, "get", "kept").strip() == "yes", within=30)
    wait_until(trial.is_sound, within=30)
