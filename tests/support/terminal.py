"""A person's terminal: one bash that keeps its folder, variables and jobs from command to command."""

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_LOOP: Final = 'while IFS= read -r -d "" command <&{0}; do eval "$command"; printf "\\0%d\\0" $?; done'
_ENDED: Final = re.compile(rb"\0(\d+)\0")


class Terminal:
    """Use as a context manager: what still runs at its end is ended. `errors` is the file of everything's stderr."""

    def __init__(self, folder: Path, environment: Mapping[str, str], errors: Path) -> None:
        reader, self._commands = os.pipe()
        self.errors = errors
        self.environment = dict(environment)
        with errors.open("ab") as stderr:
            self._process = subprocess.Popen(
                ["bash", "--norc", "-c", _LOOP.format(reader)], cwd=folder, env=self.environment, pass_fds=(reader,),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        os.close(reader)

    def run(self, command: str, *, typed: str = "", until: str = "", within: float = 60) -> str:
        """What a command prints. `typed` is what it reads; `until`: wait for that text, of a job that it started."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        stdin.write(typed.encode())
        stdin.flush()
        os.write(self._commands, command.encode() + b"\0")
        deadline, data = time.monotonic() + within, b""
        while not (ended := _ENDED.search(data)) or until.encode() not in data:
            readable, _, _ = select.select([stdout], [], [], max(0, deadline - time.monotonic()))
            assert readable, self._said(command, "takes too long", data)
            part = os.read(stdout.fileno(), 65536)
            assert part, self._said(command, "ended the shell", data)
            data += part
        assert ended[1] == b"0", self._said(command, f"failed with {int(ended[1])}", data)
        return (data[: ended.start()] + data[ended.end() :]).decode().replace("\r\n", "\n")

    def foreground(self, command: str, *, until: str, within: float = 60) -> str:
        """Run what ends by Ctrl-C only: until it prints that text. What it printed; it must end in order."""
        words = ["bash", "-c", f"cd '{self.run('pwd').strip()}'; exec {command}"]
        with (
            self.errors.open("ab") as stderr,
            subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True) as process,
        ):  # fmt: skip
            assert process.stdout
            data, deadline = b"", time.monotonic() + within
            try:
                while until.encode() not in data:
                    readable, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
                    assert readable, self._said(command, "takes too long", data)
                    part = os.read(process.stdout.fileno(), 65536)
                    assert part, self._said(command, "ended", data)
                    data += part
            finally:
                os.killpg(process.pid, signal.SIGINT)
                try:
                    code = process.wait(30)
                except BaseException:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise
        # make tells its caller of the Ctrl-C by ending of it, too.
        assert code in (0, -signal.SIGINT), self._said(command, f"failed with {code}", data)
        return data.decode()

    def _said(self, command: str, what: str, data: bytes) -> str:
        tail = self.errors.read_text(errors="replace")[-3000:]
        return f"{command}\n{what}: {data.decode(errors='replace')}\n{tail}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process.poll() is None and kind is None:
                self.run('jobs=$(jobs -p); test -z "$jobs" || kill $jobs; wait', within=30)
        finally:
            os.close(self._commands)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # whatever did not end
            self._process.wait(10)
            for stream in (self._process.stdin, self._process.stdout):
                assert stream
                stream.close()
