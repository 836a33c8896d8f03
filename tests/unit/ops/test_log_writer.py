"""Lines go out whole and in order, or are dropped and counted; who writes them never waits."""

import errno
import fcntl
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.ops import log_writer
from sidecar.ops.log_writer import LogWriter, Outlet, open_outlet
from tests.support.waiting import wait_until


def waiting(descriptor: int) -> Outlet:
    """A descriptor that only the thread can write to."""
    return Outlet(descriptor, lambda data: os.write(descriptor, data), waits=True)


class Reader:
    """Reads a descriptor to its end, from `start` on."""

    def __init__(self, descriptor: int) -> None:
        self.data = b""
        self._descriptor = descriptor
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _read(self) -> None:
        while part := os.read(self._descriptor, 65536):
            self.data += part

    @property
    def lines(self) -> list[str]:
        return self.data.decode().splitlines()


Make = Callable[..., tuple[LogWriter, Reader]]


@pytest.fixture(params=["pipe", "socket", "thread", "pipe alone", "socket alone", "thread alone"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a writer whose reader does not read yet: a pipe, a socket, and a pipe that cannot be opened anew."""
    kind, _, alone = request.param.partition(" ")
    opened: list[int] = []

    def start(**bounds: int) -> tuple[LogWriter, Reader]:
        if kind == "socket":
            ours, theirs = socket.socketpair()
            read, write = ours.detach(), theirs.detach()
        else:
            read, write = os.pipe()
        if kind == "thread":
            monkeypatch.setattr(log_writer, "open_outlet", waiting)
        opened.extend((read, write))
        return LogWriter(write, alone=bool(alone), **bounds), Reader(read)

    yield start
    for descriptor in opened[::-1]:
        # A thread that writes there gets an error, and one that reads the end; the number is left to nobody else.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, descriptor)
        os.close(null)


def assert_told(writer: LogWriter, reader: Reader, count: int) -> None:
    """Lines and reports of dropped ones make the whole: each report stands where those lines are missing."""
    told = re.compile(r"(\d+) log lines were dropped")

    def reports() -> list[int]:
        return [int(match[1]) for each in reader.lines if (match := told.fullmatch(each))]

    wait_until(lambda: len(reader.lines) + sum(reports()) - len(reports()) == count)
    assert sum(reports()) == writer.dropped
    expected = 0
    for each in reader.lines:
        match = told.fullmatch(each)
        assert match or int(each[:6]) == expected
        expected += int(match[1]) if match else 1


def line(number: int, length: int = 100) -> str:
    return f"{number:06d} ".ljust(length, "x") + "\n"


def test_lines_arrive_in_order(make: Make) -> None:
    writer, reader = make()
    reader.start()
    for number in range(2000):
        writer.write(line(number))
    writer.write("".join(map(line, range(2000, 4000))))
    writer.drain(10)
    wait_until(lambda: len(reader.lines) == 4000)
    assert reader.data.decode() == "".join(map(line, range(4000)))
    assert writer.dropped == 0


def test_what_does_not_fit_is_dropped_counted_and_reported_where_it_is_missing(make: Make) -> None:
    writer, reader = make(most_bytes=50_000)
    begun = time.monotonic()
    for number in range(10_000):
        writer.write(line(number))
    assert time.monotonic() - begun < 5, "nobody reads, and nobody waits"
    assert 5000 < writer.dropped < 10_000
    reader.start()
    writer.drain(10)
    writer.write(line(10_000))
    assert_told(writer, reader, 10_001)


def test_gaps_are_told_without_waiting_for_another_line(make: Make) -> None:
    writer, reader = make(most_bytes=10_000)
    writer.write("".join(map(line, range(5000))))
    assert writer.dropped
    reader.start()
    wait_until(lambda: f"{writer.dropped} log lines were dropped" in reader.lines)


def test_every_gap_is_told(make: Make) -> None:
    """However often reader and writer overtake each other, what came and what was told of make the whole."""
    writer, reader = make(most_bytes=8_000)
    reader.start()
    for number in range(20_000):
        writer.write(line(number))
    assert_told(writer, reader, 20_000)


def test_the_number_of_pieces_is_bounded_too(make: Make) -> None:
    writer, _ = make(most_pieces=100)
    writer.write("x" * 900_000 + "\n")  # more than a pipe or a socket takes
    wait_until(lambda: len(writer._queue) == 1)
    for _ in range(1000):
        writer.write("\n")
    assert writer.dropped >= 900
    assert len(writer._queue) <= 101


def test_a_line_longer_than_the_buffer_is_dropped_and_one_longer_than_a_pipe_arrives_whole(make: Make) -> None:
    writer, reader = make(most_bytes=500_000)
    writer.write("x" * 600_000 + "\n")
    assert writer.dropped == 1
    writer.write("y" * 300_000 + "\n" + line(1))
    reader.start()
    wait_until(lambda: len(reader.lines) == 3)
    assert reader.lines == ["1 log lines were dropped", "y" * 300_000, line(1)[:-1]]


def test_text_without_its_end_waits_for_it(make: Make) -> None:
    writer, reader = make()
    reader.start()
    writer.write("a")
    writer.write("b\nc")
    writer.flush()
    wait_until(lambda: reader.data == b"ab\n")
    writer.drain(10)
    wait_until(lambda: reader.data == b"ab\nc\n")


def test_any_text_can_be_written(make: Make) -> None:
    writer, reader = make()
    reader.start()
    assert writer.write("ä€😀\0\udcff\n") == 6
    wait_until(lambda: reader.data == "ä€😀\0".encode() + b"\\udcff\n")
    assert (writer.encoding, writer.writable(), writer.isatty()) == ("utf-8", True, False)


def test_the_end_does_not_wait_for_a_reader_that_does_not_come(make: Make) -> None:
    writer, _ = make()
    for number in range(20_000):
        writer.write(line(number))
    begun = time.monotonic()
    writer.drain(0.2)
    assert 0.2 <= time.monotonic() - begun < 5
    assert re.fullmatch(r"<LogWriter \d+ bytes waiting, \d+ lines dropped>", repr(writer))


def test_a_reader_that_is_gone_costs_lines_and_nothing_else() -> None:
    read, write = os.pipe()
    writer = LogWriter(write)
    os.close(read)
    for number in range(1000):
        writer.write(line(number))
    assert writer.dropped == 1000
    late = LogWriter(write)
    for number in range(1000):
        late.write(line(number))
    wait_until(lambda: late.dropped == 1000)


def test_a_full_disk_costs_lines_and_tears_only_one() -> None:
    """A file that has no room, for a while, in the middle of a line."""
    out, room = bytearray(), [150]

    def write(data: bytes) -> int:
        count = min(len(data), room[0])
        if not count:
            raise OSError(errno.ENOSPC, "full")
        out.extend(data[:count])
        room[0] -= count
        return count

    read, descriptor = os.pipe()
    writer = LogWriter(descriptor)
    writer._outlet = writer._outlet._replace(write=write)
    for number in range(5):
        writer.write(line(number))
    assert writer.dropped == 4
    room[0] = 1000
    writer.write(line(5))
    assert out.decode().splitlines() == [line(0)[:-1], line(1)[:49], "4 log lines were dropped", line(5)[:-1]]
    os.close(read)
    os.close(descriptor)


def test_nobody_else_s_descriptor_is_switched_to_non_blocking() -> None:
    for read, write in (os.pipe(), [sock.detach() for sock in socket.socketpair()]):
        writer = LogWriter(write)
        writer.write("a\n" * 100_000)
        assert not fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK
        assert writer.fileno() == write
        os.close(read)


def test_a_file_is_appended_to_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    descriptor = os.open(path, os.O_WRONLY)
    os.lseek(descriptor, 0, os.SEEK_END)
    writer = LogWriter(descriptor)
    writer.write("".join(map(line, range(2000))))
    writer.drain(10)
    os.write(descriptor, b"after\n")
    assert path.read_text() == "before\n" + "".join(map(line, range(2000))) + "after\n"
    os.close(descriptor)


def test_a_descriptor_that_is_closed_is_an_error() -> None:
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    with pytest.raises(OSError, match="Bad file"):
        open_outlet(write)


def test_a_warning_from_a_destructor_in_the_middle_of_it_all_comes_after(make: Make) -> None:
    """Whatever Python writes to stderr while the thread that holds the lock is interrupted."""
    writer, reader = make()
    write = writer._outlet.write

    def interrupted(data: bytes) -> int:
        if b"first" in data:
            writer.write("warning\n")
        return write(data)

    writer._outlet = writer._outlet._replace(write=interrupted)
    reader.start()
    writer.write("first\nsecond\n")
    writer.write("third\n")
    wait_until(lambda: len(reader.lines) == 4)
    assert [each for each in reader.lines if each != "warning"] == ["first", "second", "third"]
    assert reader.lines[0] == "first"


def test_lines_of_several_processes_do_not_mix_in_a_pipe() -> None:
    """Two writers of one pipe, whose reader is slower than they are."""
    read, write = os.pipe()
    again = os.dup(write)
    writers = [LogWriter(write, most_bytes=10**8), LogWriter(again, most_bytes=10**8)]

    def fill(writer: LogWriter, name: str) -> None:
        for number in range(300):
            writer.write("".join(f"{name} {number:04d} {each:02d} ".ljust(200, name) + "\n" for each in range(50)))

    threads = [threading.Thread(target=fill, args=each) for each in zip(writers, "ab", strict=True)]
    reader = Reader(read)
    for each in [*threads, reader]:
        each.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(reader.data) == 2 * 300 * 50 * 201, within=30)
    assert all(re.fullmatch(r"(a|b) \d{4} \d{2} (\1+)", each) and len(each) == 200 for each in reader.lines)
    for name in "ab":
        mine = [each for each in reader.lines if each[0] == name]
        assert mine == sorted(mine)
