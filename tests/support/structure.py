"""The package as its imports and sizes show it. `python -m tests.support.structure` writes the picture in the documentation."""

import ast
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Final

import sidecar
from tests.support.documents import ROOT

PACKAGE: Final = Path(sidecar.__file__).parent
MODULES: Final = sorted(PACKAGE.rglob("*.py"))
DOCUMENT: Final = ROOT / "docs/architecture.md"
BEGIN: Final = "<!-- made by python -m tests.support.structure -->\n"
END: Final = "<!-- end -->\n"


def name_of(path: Path) -> str:
    """`proxy.client.reader` for a file; a package has the name of its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES: Final = {name_of(path) for path in MODULES}


def room_of(name: str) -> str:
    """The first part: `core`, `proxy` and so on; the package itself has none."""
    return name.partition(".")[0]


@cache
def imports(path: Path) -> Set[str]:
    """All that a file imports, whole names, with imports for types."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def of_ours(path: Path) -> set[str]:
    """The modules of ours that a file imports."""
    found = set()
    for name in imports(path):
        inner = name.removeprefix("sidecar.")
        if inner != name and inner in NAMES:
            found.add(inner)
    # `from sidecar.core.http import paths` names the package as well: what is meant is the module.
    return {name for name in found if not any(other.startswith(name + ".") for other in found)} - {name_of(path)}


def graph() -> dict[str, set[str]]:
    """Which module imports which."""
    return {name_of(path): of_ours(path) for path in MODULES}


def circles(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected parts with more than one member (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in arrows.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in arrows:
        if node not in order:
            visit(node)
    return found


def rooms() -> dict[str, set[str]]:
    """Which room imports which."""
    found: dict[str, set[str]] = {}
    for name, others in graph().items():
        room = room_of(name)
        found.setdefault(room, set()).update(room_of(other) for other in others)
        found[room].discard(room)
    found.pop("", None)
    return {room: others - {""} for room, others in found.items()}


def floors(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """The rooms from the top floor down: each only imports from floors below its own."""
    height: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((floor(other) for other in arrows[room]), default=0)
        return height[room]

    for room in arrows:
        floor(room)
    return [
        sorted(room for room in arrows if height[room] == number)
        for number in sorted(set(height.values()), reverse=True)
    ]


def picture() -> str:
    """The floors and arrows of the rooms, as Mermaid."""
    arrows = rooms()
    lines = ["```mermaid", "graph TD"]
    for number, floor in enumerate(floors(arrows)):
        lines.append(f"  subgraph floor{number} [ ]")
        lines += [f"    {room}" for room in floor]
        lines.append("  end")
    lines += [f"  {room} --> {other}" for room in sorted(arrows) for other in sorted(arrows[room])]
    return "\n".join([*lines, "```", ""])


def classes(path: Path) -> Iterator[ast.ClassDef]:
    """The classes of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            yield node


def drawn(text: str) -> str:
    """The document with the picture of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + picture() + END + after


if __name__ == "__main__":
    DOCUMENT.write_text(drawn(DOCUMENT.read_text()))
