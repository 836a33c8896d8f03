"""API servers that nobody here wrote, started unmodified as processes of their own."""

import contextlib
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.redis import free_port


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, log: Path) -> Iterator[str]:
    """A process that listens on a port of loopback; gives its address once it does."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


@contextlib.contextmanager
def httpbin(folder: Path) -> Iterator[str]:
    """httpbin; gives its address."""
    port = free_port()
    arguments = ["-W", "ignore", "-m", "flask", "--app", "httpbin:app", "run", "--port", str(port)]
    with serving([sys.executable, *arguments], port, folder / "httpbin.log") as url:
        yield url


@contextlib.contextmanager
def datasette(folder: Path) -> Iterator[str]:
    """Datasette over a table `orders` of 250 rows in `shop.db`; gives its address."""
    path = folder / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("create table orders (id integer primary key, item text, price real)")
        rows = [(number, f"item {number} äöü", number * 1.5) for number in range(1, 251)]
        database.executemany("insert into orders values (?, ?, ?)", rows)
    port = free_port()
    arguments = ["-W", "ignore", "-m", "datasette", "serve", str(path), "--port", str(port), "--host", "127.0.0.1"]
    with serving([sys.executable, *arguments], port, folder / "datasette.log") as url:
        yield url
