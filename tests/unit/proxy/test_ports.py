"""The two sides of the data path know each other by `ports` alone: no import leads back, those for types included."""

import ast
from pathlib import Path

import pytest

import sidecar.proxy
from sidecar.proxy import ports

ROOT = Path(sidecar.proxy.__file__).parent


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports, under `TYPE_CHECKING` as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return (found & set(MODULES)) - {"sidecar.proxy"}


def test_no_import_leads_back() -> None:
    left = {name: imports(name) for name in MODULES}
    while leaves := [name for name, needed in left.items() if not needed & set(left)]:
        for name in leaves:
            del left[name]
    assert not left, "these import each other"


@pytest.mark.parametrize("name", MODULES)
def test_neither_side_imports_the_other(name: str) -> None:
    side = name.removeprefix("sidecar.proxy").split(".")[1:2]
    for other in imports(name):
        if other.startswith(("sidecar.proxy.client", "sidecar.proxy.upstream")):
            assert other.split(".")[2:3] == side, f"{name} imports {other}"


def test_the_ports_are_protocols_and_values() -> None:
    """Nothing in the file acts: what it declares is implemented elsewhere."""
    for name, value in vars(ports).items():
        if isinstance(value, type) and value.__module__ == ports.__name__:
            assert getattr(value, "_is_protocol", False) or issubclass(value, tuple), name
