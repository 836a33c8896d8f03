"""Lua scripts with named keys and arguments.

Redis passes both by position, as KEYS and ARGV. A script declares their names once. The Lua header that binds them to locals,
and the order in which Python sends them, both follow from that declaration.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from redis.commands.core import AsyncScript

T = TypeVar("T")
Key = str | bytes
Argument = str | bytes | int | float
Command = Callable[[], Awaitable[Any]]
"""What `connection.Server.run` runs. It may be called more than once."""

_NO_ARGUMENTS: Final[Mapping[str, Argument]] = {}


@dataclass(frozen=True, kw_only=True)
class Script:
    """A Lua script. `keys` and `args` are the names of its fixed keys and arguments; `more_keys` and `more_args` are the
    names of the Lua tables with any number of further ones, empty if it takes none. Raises `ValueError` if a name occurs
    twice."""

    keys: tuple[str, ...] = ()
    more_keys: str = ""
    args: tuple[str, ...] = ()
    more_args: str = ""
    body: str

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"a name is declared twice: {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """All declared names."""
        return tuple(filter(None, (*self.keys, self.more_keys, *self.args, self.more_args)))

    @property
    def text(self) -> str:
        """The Lua source: the declared names as locals, then the body."""
        return _header("KEYS", self.keys, self.more_keys) + _header("ARGV", self.args, self.more_args) + self.body


def _header(table: str, names: tuple[str, ...], more: str) -> str:
    lines = []
    if names:
        values = ", ".join(f"{table}[{number}]" for number in range(1, len(names) + 1))
        lines.append(f"local {', '.join(names)} = {values}\n")
    if more and names:  # a loop, because `unpack` fails for some thousands of values
        lines.append(f"local {more} = {{}}\n")
        lines.append(f"for i = {len(names) + 1}, #{table} do {more}[i - {len(names)}] = {table}[i] end\n")
    elif more:
        lines.append(f"local {more} = {table}\n")
    return "".join(lines)


class BoundScript:
    """A script together with the client that sends it."""

    def __init__(self, script: Script, send: AsyncScript) -> None:
        self._script = script
        self._send = send

    def __repr__(self) -> str:
        return f"<BoundScript {', '.join(self._script.names)}>"

    @property
    def text(self) -> str:
        """The Lua source."""
        return self._script.text

    def __call__(
        self,
        keys: Mapping[str, Key],
        args: Mapping[str, Argument] = _NO_ARGUMENTS,
        *,
        more_keys: Sequence[Key] | None = None,
        more_args: Sequence[Argument] | None = None,
    ) -> Command:
        """A command that runs the script with these keys and arguments; nothing is sent yet. Raises `TypeError` unless
        exactly the declared ones are given."""
        script = self._script
        return partial(
            self._send,
            keys=_in_order("key", script.keys, keys, script.more_keys, more_keys),
            args=_in_order("argument", script.args, args, script.more_args, more_args),
        )


def _in_order(
    kind: str, names: tuple[str, ...], values: Mapping[str, T], more_name: str, more: Sequence[T] | None
) -> list[T]:
    if values.keys() != set(names):
        missing, unknown = set(names) - values.keys(), values.keys() - set(names)
        raise TypeError(f"{kind}s of the script: missing {sorted(missing)}, unknown {sorted(unknown)}")
    if (more is not None) is not bool(more_name):
        raise TypeError(
            f"further {kind}s of the script: " + (f"{more_name} are missing" if more_name else "it takes none")
        )
    return [*(values[name] for name in names), *(more or ())]
