"""What a process does about its file descriptors, seen from outside."""

import subprocess
import sys

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
