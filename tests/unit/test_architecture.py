"""The shape of the package: who may import whom, how large things are, and that each module has its tests."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.support.documents import ROOT
from tests.support.structure import (
    DOCUMENT,
    MODULES,
    NAMES,
    circles,
    classes,
    drawn,
    graph,
    imports,
    name_of,
    of_ours,
    room_of,
)

# What a room may import of ours, besides itself. An arrow never runs back up.
ALLOWED = {
    "": {"cli"},  # __main__ and the package's face
    "cli": {"assembly", "config", "core", "demo", "doctor", "ops", "runtime", "stores"},
    "doctor": {"assembly", "config", "core", "proxy", "runtime", "stores", "tls"},
    "demo": {"config", "demo_api", "runtime"},
    "demo_api": set(),
    "runtime": {"assembly", "config", "core", "ops", "tls"},
    "assembly": {"config", "core", "oauth", "ops", "proxy", "stores", "tls"},
    "config": {"core", "tls"},
    "oauth": {"core"},
    "proxy": {"core"},
    "stores": {"core"},
    "ops": {"core"},
    "tls": set(),
    "core": set(),
}
# The rules know no sockets, clocks, files, randomness or loggers: what they may import besides each other.
CORE_MAY_IMPORT = {
    "argon2", "array", "base64", "binascii", "collections", "contextlib", "cryptography", "dataclasses", "difflib", "enum", "functools", "hashlib",
    "hmac", "ipaddress", "itertools", "json", "jwt", "math", "operator", "re", "string", "struct", "typing", "unicodedata", "urllib.parse",
}  # fmt: skip
LONGEST_MODULE, LONGEST_CLASS, MOST_PARAMETERS = 400, 300, 8
# Tests that need a real server are elsewhere; one line needs none.
TESTED_BY = {
    "__main__": "e2e/test_main_job.py",
    "runtime.worker": "e2e/test_lifecycle.py",
    "runtime.child": "e2e/test_missing_workers.py",
    "assembly.revoking": "contract/test_revoking.py",
    "assembly.inspecting": "e2e/test_inspecting.py",
    "assembly.shared_store": "e2e/test_inspecting.py",
    "stores.memory": "contract/test_stores.py",
    "stores.redis.store": "contract/test_stores.py",
    "stores.redis.connection": "contract/test_lost_connections.py",
    "stores.redis.sentinel": "contract/test_sentinel.py",
    "stores.redis.cluster": "contract/test_cluster.py",
    "stores.redis.pool": "contract/test_lost_connections.py",
    "stores.redis.feed": "contract/test_redis_feed.py",
    "stores.redis.revocations": "contract/test_redis_losses.py",
    "stores.redis.scripts": "contract/test_redis_losses.py",
    "stores.redis.family_scripts": "contract/test_families.py",
    "stores.redis.source": "contract/test_redis_feed.py",
}


def label(path: Path) -> str:
    return name_of(path) or path.stem


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    name = name_of(path)
    room = "" if name == "__main__" else room_of(name)
    assert {room_of(other) for other in of_ours(path)} - {room, ""} <= ALLOWED[room]


@pytest.mark.parametrize("path", [path for path in MODULES if room_of(name_of(path)) == "core"], ids=label)
def test_core_imports_nothing_of_the_outside_world(path: Path) -> None:
    foreign = {name for name in imports(path) if room_of(name) != "sidecar"}
    modules = {name if name in sys.modules else name.rpartition(".")[0] or name for name in foreign}
    assert {name for name in modules if not {name, room_of(name)} & CORE_MAY_IMPORT} == set()


def test_there_is_no_circle() -> None:
    """Imports for types count: they, too, make two modules one for whoever reads them."""
    assert circles(graph()) == []


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_modules_classes_and_constructors_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE
    for node in classes(path):
        assert (node.end_lineno or 0) - node.lineno < LONGEST_CLASS, node.name
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                given = method.args
                count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) - 1
                assert count <= MOST_PARAMETERS, f"{node.name} takes {count}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=label)
def test_each_module_has_its_tests_at_the_mirrored_path(path: Path) -> None:
    folder, _, leaf = name_of(path).rpartition(".")
    mirrored = f"unit/{folder.replace('.', '/')}/test_{leaf}.py"
    assert (ROOT / "tests" / TESTED_BY.get(name_of(path), mirrored)).is_file()


_DOTTED = re.compile(r"`([a-z_]+(?:\.[A-Za-z_]+)+)`")


def named_in(text: str) -> set[str]:
    """The dotted names in back quotes that begin with a room."""
    return {name for name in _DOTTED.findall(text) if name.partition(".")[0] in ALLOWED}


def leads_nowhere(name: str) -> bool:
    """Whether no module, and nothing in one, has this name."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in NAMES:
            found: object = importlib.import_module(".".join(["sidecar", *parts[:end]]))
            for part in parts[end:]:
                found = getattr(found, part, None)
            return found is None
    return True


@pytest.mark.parametrize("path", [*MODULES, DOCUMENT], ids=lambda path: path.stem if path == DOCUMENT else label(path))
def test_names_in_docstrings_and_in_the_architecture_lead_somewhere(path: Path) -> None:
    assert {name for name in named_in(path.read_text()) if leads_nowhere(name)} == set()


def test_the_picture_in_the_documentation_is_that_of_today() -> None:
    """Draw it anew with: python -m tests.support.structure"""
    assert DOCUMENT.read_text() == drawn(DOCUMENT.read_text())
