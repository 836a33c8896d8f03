"""What the documents tell people to type.

- In Markdown: a line of a `console` block that begins with `$ `, with its here-document and the lines that a `\\` continues.
  The lines below it are what it prints.
- In a file of comments: a line `# $ …`.
- In Markdown, below a paragraph that names `sidecar.yaml`: a block of YAML, which the reader puts into that file.
- A block of `sh`: commands that nobody can run just anywhere.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
_PROMPT: Final = re.compile(r"^[\s#>*-]*\$ \S")
_COMMENT: Final = re.compile(r"^#\s+\$ (.+)$")
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_INTO: Final = "`sidecar.yaml`"


class Step(NamedTuple):
    """Something to do: a command and what it is said to print, or (`yaml`) lines for `sidecar.yaml`."""

    heading: str
    command: str
    shown: tuple[str, ...] = ()
    yaml: bool = False


def documents() -> list[str]:
    """Every text that people read, by its path in the repository."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    kinds = (".md", ".yaml", ".yml", ".toml", "Dockerfile", "Makefile", ".html")
    return sorted(name for name in listed if name.endswith(kinds) and not name.startswith("tests/"))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def prompts(text: str) -> int:
    """How many lines look like something to type, wherever they stand."""
    return sum(bool(_PROMPT.match(line)) for line in text.splitlines())


def steps(text: str) -> list[Step]:
    """What a document says, from top to bottom."""
    if text.startswith("# ") and not _BLOCK.search(text):
        return [Step("", match[1]) for line in text.splitlines() if (match := _COMMENT.match(line))]
    return list(_markdown(text))


def _markdown(text: str) -> Iterator[Step]:
    for block in _BLOCK.finditer(text):
        before = text[: block.start()]
        heading = (_HEADING.findall(_BLOCK.sub("", before)) or [""])[-1]
        if block[1] == "console":
            yield from _console(heading, block[2])
        elif block[1] == "yaml" and _INTO in before.rstrip().rpartition("\n\n")[2]:
            yield Step(heading, block[2], yaml=True)


def _console(heading: str, block: str) -> Iterator[Step]:
    command, shown, more = "", [], False
    for line in block.splitlines():
        if more:
            command += "\n" + line
            more = line != "END" if "<<'END'" in command else line.endswith("\\")
        elif line.startswith("$ "):
            if command:
                yield Step(heading, command, tuple(shown))
            command, shown, more = line[2:], [], "<<'END'" in line or line.endswith("\\")
        else:
            assert command, f"{heading}: {line!r} is printed by no command"
            shown.append(line)
    yield Step(heading, command, tuple(shown))


def unrunnable(text: str) -> list[str]:
    """The commands in its `sh` blocks, each as one line."""
    blocks = [block[2] for block in _BLOCK.finditer(text) if block[1] == "sh"]
    return [line.strip() for block in blocks for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines() if line.strip()]


def blocks(text: str) -> list[tuple[str, str]]:
    """The language that each block names, and what is in it."""
    return _BLOCK.findall(text)


def clone(folder: Path) -> None:
    """A clone of the repository, with what is not committed yet."""
    for name in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        source = ROOT / name
        if name and source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    for words in (["init", "-q"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
