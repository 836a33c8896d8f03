"""Reads a YAML document, strictly where YAML is surprising, and resolves `${env:NAME}` and `${file:/path}`.

Rules:

- Duplicate keys are faults.
- A date stays a string (`kid: 2026-11-23`).
- `${file:…}` is relative to the folder of the document. One newline at the end of the file's text is removed.
- A reference that cannot be resolved is a fault with its path, and never becomes an empty string.
- A `${` that begins neither form is a fault, because the operator meant it as a reference. So is a tag such as `!env`.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as SafeLoader  # takes a third of the time
except ImportError:  # a wheel for an unusual platform may lack it
    from yaml import SafeLoader  # type: ignore[assignment]  # for mypy, the name is that of the other class

from sidecar.config.faults import Fault

_MOST_VALUES = 200_000
_DEEPEST = 32
_REFERENCE = re.compile(r"\$\{(env|file):([^}]*)\}")
HOW_TO_REFER = "write ${env:NAME} for an environment variable, or ${file:/path} for a file"


class _Tagged:
    """A value with an unknown tag, such as the `!env X` of other programs."""


class _Loader(SafeLoader):
    """A `SafeLoader` that does not parse timestamps and refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  PyYAML's signature
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, dict | list | _Tagged):  # such as {{ env.X }} without quotes
                text = f"a key must be a text; for what stands elsewhere {HOW_TO_REFER}"
                raise yaml.MarkedYAMLError(problem=text, problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem="duplicate key", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: _Tagged())


def read_document(path: Path) -> tuple[dict[str, Any] | None, list[Fault]]:
    """Return the document with its references resolved, and the faults. The document is `None` when it cannot be used."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        return None, [Fault("", f"{path}: cannot be read: {exc.strerror}")]
    except UnicodeDecodeError:
        return None, [Fault("", f"{path}: is not UTF-8 text")]
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # YAML allows no plain text that begins with % or @, as the %X% and @X@ of other tools do.
        hint = f"; put quotes around it, or {HOW_TO_REFER}" if "cannot start any token" in (exc.problem or "") else ""
        return None, [Fault("", f"{path}: not valid YAML{place}: {exc.problem}{hint}")]
    except (yaml.YAMLError, RecursionError, TypeError):  # such as an unprintable character, or a list as a key
        return None, [Fault("", f"{path}: not valid YAML")]
    if not isinstance(document, dict):
        return None, [Fault("", f"{path}: must hold keys such as listen, upstream and tokens")]
    resolver = _Resolver(path.parent)
    try:
        return resolver.resolve(document, "", 0), resolver.faults
    except _TooLarge:
        return None, [Fault("", f"{path}: holds too much, or an alias within what it stands for")]


def entries(document: dict[str, Any], where: str) -> list[Any]:
    """Return the entries of the list at a path such as `tokens.signing_keys`, or an empty list when there is none."""
    value: Any = document
    for key in where.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []


def referenced_files(path: Path) -> list[Path]:
    """Return the files that a document refers to with `${file:…}`, or seems to refer to when it cannot be parsed."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return []
    return list({path.parent / match[2]: None for match in _REFERENCE.finditer(text) if match[1] == "file"})


def secret_files(path: Path) -> list[Path]:
    """Return the files that a valid document refers to with `${file:…}` in fields that hold secrets."""
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  a SafeLoader
    return [
        path.parent / match[2]
        for text in _secrets(document)
        for match in _REFERENCE.finditer(text)
        if match[1] == "file"
    ]


def _secrets(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, key)
    elif isinstance(value, str) and (
        key in ("secret", "private_key", "url", "token") or "secret" in key or "password" in key
    ):
        yield value


class _TooLarge(Exception):
    """The document is too large. Aliases can expand a short text to more than fits into memory, or endlessly."""


class _Resolver:
    """Copies a document and resolves its references. `faults` contains what it could not resolve."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._values = 0
        self.faults: list[Fault] = []

    def resolve(self, value: Any, where: str, depth: int) -> Any:
        """Return a copy of the value with its references resolved. Raises `_TooLarge`."""
        self._values += 1
        if self._values > _MOST_VALUES or depth > _DEEPEST:
            raise _TooLarge
        if isinstance(value, dict):
            for key in value:
                if "${" in str(key):
                    self.faults.append(Fault(where, "a key cannot be a reference: write it out"))
            return {
                str(key): self.resolve(item, f"{where}.{key}" if where else str(key), depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.resolve(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
        if isinstance(value, _Tagged):
            self.faults.append(Fault(where, f"has a tag, and none is known here: {HOW_TO_REFER}"))
            return ""
        return self._text(value, where) if isinstance(value, str) else value

    def _text(self, value: str, where: str) -> str:
        if "${" in _REFERENCE.sub("", value):
            text = f"holds ${{ that begins no reference of ours: {HOW_TO_REFER}; a text that holds it itself goes into a file"
            self.faults.append(Fault(where, text))
            return value

        def replace(match: re.Match[str]) -> str:
            try:
                return _look_up(match[1], match[2], self._folder)
            except LookupError as exc:
                self.faults.append(Fault(where, str(exc.args[0])))
                return match[0]

        return _REFERENCE.sub(replace, value)


def _look_up(kind: str, name: str, folder: Path) -> str:
    # A name that is not a plain identifier may contain a default, as in the shell's ${X:-default}. The default may be a
    # secret, so the fault does not show the name.
    if ":-" in name or (kind == "env" and not name.isidentifier() and name not in os.environ):
        raise LookupError(f"the reference names nothing that is there, and can have no default: {HOW_TO_REFER}")
    if kind == "env":
        if name not in os.environ:
            raise LookupError(f"the environment variable {name} is not set")
        return os.environ[name]
    try:
        text = (folder / name).read_text(encoding="utf-8")
    except OSError as exc:
        looked_in = "" if Path(name).is_absolute() else f"; it was looked for in {folder.resolve()}"
        raise LookupError(f"the file {name} cannot be read: {exc.strerror}{looked_in}") from None
    except (UnicodeDecodeError, ValueError):
        raise LookupError(f"the file {name} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
