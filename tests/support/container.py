"""An image and its containers without a container engine that runs all the time: buildah builds and podman runs, as root.

The base is Debian's own Python under the name of the real base, since a registry may be out of reach. What belongs to this machine
(its certificate authorities, its configuration of pip) is lent to the build.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.documents import ROOT

TOOLS: Final = ("buildah", "podman", "runc", "debootstrap", "unshare", "nsenter")
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_KEPT: Final = ROOT / ".venv"
HARDENED: Final = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65532:65532")
_CONFIGURATION: Final = '[containers]\ndefault_ulimits = ["nofile=8192:8192", "nproc=4096:4096"]\n'
"""The limits that podman takes by itself are higher than some machines allow."""


def missing() -> str:
    """Why no image can be built here; empty when it can."""
    lacking = [name for name in TOOLS if shutil.which(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    return "" if os.geteuid() == 0 else "building an image takes root here"


class Engine:
    """Keeps images and containers below a folder. The network of its host is one of its own, with free ports. Close it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._configuration = folder / "containers.conf"
        self._configuration.write_text(_CONFIGURATION)
        self._network = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE,
        )
        assert self._network.stdout
        assert self._network.stdout.readline(), "no network namespace can be made"
        self._options = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def close(self) -> None:
        self._network.kill()
        with self._network:
            subprocess.run(
                ["umount", "--lazy", str(self._folder / "store" / "overlay")], capture_output=True, check=False
            )
            shutil.rmtree(self._folder, ignore_errors=True)

    def base(self, name: str) -> None:
        """Make the stand-in for the base, which is kept in the virtual environment for the next time."""
        kept = (_KEPT if _KEPT.is_dir() else self._folder) / ".image-base.tar"
        if not kept.exists():
            tree = self._folder / "base"
            run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "trixie", str(tree), within=600)
            (tree / "usr" / "local" / "bin" / "python").symlink_to("/usr/bin/python3")
            run("tar", "-C", str(tree), "-cf", str(kept.with_suffix(".part")), ".", within=120)
            kept.with_suffix(".part").rename(kept)
            shutil.rmtree(tree)
        self.podman("import", "--quiet", str(kept), name, within=120)

    def build(self, name: str, **arguments: str) -> None:
        lent = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
        pip = {name: value for name, value in os.environ.items() if name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")}
        run(
            "buildah", *self._options, "bud", "--quiet", "--isolation=chroot", "--network=host", "--pull-never",
            "--format=docker", "--layers=false", f"--tag={name}",
            *(f"--volume={path}:{path}:ro" for path in lent), *(f"--env={name}={value}" for name, value in pip.items()),
            *(f"--build-arg={name}={value}" for name, value in arguments.items()), str(ROOT), within=600,
        )  # fmt: skip

    def command(self) -> list[str]:
        """What `docker` is here."""
        return [
            "nsenter", f"--net=/proc/{self._network.pid}/ns/net",
            "env", f"CONTAINERS_CONF={self._configuration}", "podman", *self._options, "--cgroup-manager=cgroupfs", "--runtime=runc",
        ]  # fmt: skip

    def podman(self, *words: str, within: float = 60) -> str:
        return run(*self.command(), *words, within=within)


def run(*words: str, within: float) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=within, check=False)
    assert done.returncode == 0, f"{words[0]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout
