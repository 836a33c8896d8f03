"""All looks at once, of which some hang or fail."""

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.load import load
from sidecar.doctor import examination
from sidecar.doctor.examination import examine, examine_all, looks
from sidecar.doctor.findings import Finding, Status, good
from tests.support.process import configuration
from tests.support.waiting import wait_until


async def finds(name: str) -> Iterable[Finding]:
    return [good(name, "here")]


async def hangs() -> Iterable[Finding]:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def fails() -> Iterable[Finding]:
    raise ValueError("canary")


async def test_what_hangs_or_fails_hides_nothing_else() -> None:
    found = await examine([("a", finds("a")), ("b", hangs()), ("c", fails()), ("d", finds("d"))], 0.05)
    assert [each.check for each in found] == ["a", "b", "c", "d"]
    assert [each.status for each in found] == [Status.OK, Status.FAILED, Status.FAILED, Status.OK]
    assert "no result within 0.05 s" in found[1].found
    assert found[2].found == "the doctor itself failed (ValueError)", "the message may hold a secret"


def test_a_thread_that_cannot_be_interrupted_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a question to a name server that does not answer."""
    answered = threading.Event()

    async def asks() -> Iterable[Finding]:
        await asyncio.to_thread(answered.wait)
        return []

    def given(*_: Any, **__: Any) -> list[Any]:
        return [("a", finds("a")), ("b", asks())]

    monkeypatch.setattr(examination, "looks", given)
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration("http://127.0.0.1:1")))
    try:
        found, hanging = examine_all(load(path), now=0.0, files=(), limit=0.05)
        assert hanging
        assert [each.status for each in found] == [Status.OK, Status.FAILED]
    finally:
        answered.set()
    wait_until(lambda: all(thread.name != "doctor" for thread in threading.enumerate()))


async def test_each_api_is_looked_at(tmp_path: Path) -> None:
    urls = ["http://127.0.0.1:1", "unix:///api.sock"]
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(configuration({"url": urls})))
    given = looks(load(path), now=0.0, files=(), patience=1.0)
    for _, look in given:
        look.close()
    assert [name for name, _ in given][:3] == ["configuration", *(f"upstream {url}" for url in urls)]


def test_the_end_is_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    examination.end(1)
    assert codes == [1]
