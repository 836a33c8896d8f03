"""What a process does about its file descriptors, seen from outside."""

import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from sidecar.config.settings import Settings
from sidecar.runtime.descriptors import Descriptors
from tests.support.settings import changed

CLOSED = """
import os
from sidecar.runtime.descriptors import occupy_standard_descriptors
os.close(0)
os.close(2)
occupy_standard_descriptors()
print(*[os.readlink(f"/proc/self/fd/{number}") for number in (0, 2)], os.get_inheritable(0))
"""
LIMIT = """
import resource
from sidecar.runtime.descriptors import raise_descriptor_limit
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
"""


def printed(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_closed_standard_descriptors_are_occupied_and_inherited() -> None:
    assert printed(CLOSED) == "/dev/null /dev/null True\n"


def test_the_limit_becomes_the_hard_one() -> None:
    assert printed(LIMIT) == "True\n"


@pytest.fixture
def open_files(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many descriptors this process may have, as far as it is told."""
    return lambda most: monkeypatch.setattr(resource, "getrlimit", lambda _: (most, most))


def connections(settings: Settings) -> int:
    return Descriptors().within(settings).limits.connections


def test_connections_are_no_more_than_descriptors(
    open_files: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.model_validate(changed(limits__connections=500, upstream__max_connections=100))
    for unlimited in (resource.RLIM_INFINITY, 10_000):
        open_files(unlimited)
        assert Descriptors().within(settings) is settings
    assert not caplog.records
    open_files(400)
    fewer = connections(settings)
    assert 0 < fewer < 400
    (told,) = caplog.records
    assert (told.msg, vars(told)["wanted"], vars(told)["limit"]) == ("connections_limited", 500, fewer)
    open_files(300)
    assert 0 < connections(settings) < fewer


def test_nothing_else_changes_with_the_connections(open_files: Callable[[int], None]) -> None:
    settings = Settings.model_validate(changed(limits__connections=500))
    open_files(400)
    limits = settings.limits.model_copy(update={"connections": connections(settings)})
    assert Descriptors().within(settings) == settings.model_copy(update={"limits": limits})


def test_each_partition_of_a_cluster_needs_connections(open_files: Callable[[int], None]) -> None:
    open_files(2000)
    alone = Settings.model_validate(changed(store={"url": "redis://a"}, limits__connections=5000))
    spread = Settings.model_validate(
        changed(store={"url": "redis+cluster://a", "partitions": 16}, limits__connections=5000)
    )
    assert connections(alone) - connections(spread) > 16 * 3
