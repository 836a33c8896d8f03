"""The dependency rule of the package docstring, held by walking the imports."""

import ast
from pathlib import Path

import pytest

import sidecar

ROOT = Path(sidecar.__file__).parent
# What a part may import of ours, besides itself.
ALLOWED = {
    "core": set(),
    "oauth": {"core"},
    "proxy": {"core"},
    "stores": {"core"},
    "ops": {"core"},
    "tls": set(),
    "config": {"core", "tls"},
    "assembly": {"core", "oauth", "proxy", "stores", "ops", "config", "tls"},
    "runtime": {"assembly", "core", "ops", "config", "tls"},
    "demo_api": set(),
    "demo": {"runtime", "ops", "config", "demo_api"},
    "cli": {"assembly", "config", "core", "demo", "ops", "runtime", "stores"},
    "__main__": {"cli"},
    "__init__": set(),
}
# The rules know no sockets, clocks, files or loggers.
BANNED_IN_CORE = {
    "aiohttp",
    "asyncio",
    "redis",
    "yaml",
    "socket",
    "time",
    "datetime",
    "logging",
    "os",
    "pathlib",
    "uvloop",
}


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


MODULES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_what_its_layer_may(path: Path) -> None:
    part = part_of(path)
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("sidecar.")}
    assert ours - {"__version__"} <= ALLOWED[part] | {part}


@pytest.mark.parametrize("path", [p for p in MODULES if part_of(p) == "core"], ids=lambda path: path.name)
def test_core_imports_nothing_of_the_outside_world(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & BANNED_IN_CORE


def test_every_part_has_a_rule() -> None:
    assert {part_of(path) for path in MODULES} <= set(ALLOWED)
