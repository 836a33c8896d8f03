"""What a section is given to work with."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.certificate import Certificate
from benchmarks.machine import THEIR_CORE, Processes
from benchmarks.place import Place


@dataclass(frozen=True)
class Options:
    """The command line. `seconds` of load per row and round; `only`: parts of contenders' names, none for all."""

    rounds: int
    seconds: int
    connections: int
    only: tuple[str, ...]
    sections: tuple[str, ...]
    workloads: tuple[str, ...]
    write: Path | None

    def __str__(self) -> str:
        only = "".join(f" --only '{part}'" for part in self.only)
        chosen = f"--sections {','.join(self.sections)} --workloads {','.join(self.workloads)}"
        counts = f"--rounds {self.rounds} --seconds {self.seconds} --connections {self.connections}"
        return f"python -m benchmarks {chosen} {counts}{only}"

    def wants(self, name: str) -> bool:
        """Whether a contender was asked for: it has one of the parts in its name, in any case."""
        return not self.only or any(part.lower() in name.lower() for part in self.only)


@dataclass(frozen=True)
class Bench:
    """One section's share: the options, a folder, and the processes, which end when the section does."""

    options: Options
    processes: Processes
    folder: Path

    def place(
        self, name: str, core: int = THEIR_CORE, upstream: int = 0, certificate: Certificate | None = None
    ) -> Place:
        """A new place; `name` is that of its folder."""
        folder = self.folder / name
        folder.mkdir()
        return Place(self.processes, folder, core, upstream, certificate)
