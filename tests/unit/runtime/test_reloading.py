"""runtime.reloading: when the file is read again, and what becomes of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.load import load
from sidecar.config.settings import Settings
from sidecar.runtime.reloading import NotApplied, Reloader
from tests.support.settings import changed
from tests.support.waiting import eventually


class Process:
    """Keeps what was applied; `refuses` is why the next settings cannot be."""

    def __init__(self, path: Path) -> None:
        self.now = 100.0
        self.applied: list[Settings] = []
        self.refuses: Exception | None = None
        self.reloader = Reloader(load(path), self._apply, clock=lambda: self.now)

    async def _apply(self, settings: Settings) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.applied.append(settings)


def write(path: Path, **sections: Any) -> None:
    path.write_text(yaml.safe_dump(changed(**sections)))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sidecar.yaml"
    write(path)
    return path


@pytest.fixture
async def watched(config: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A process that watches its file, very often."""
    monkeypatch.setattr("sidecar.runtime.reloading._LOOK_EVERY", 0.01)
    monkeypatch.setattr("sidecar.runtime.reloading._SETTLED_AFTER", 0.01)
    process = Process(config)
    task = asyncio.get_running_loop().create_task(process.reloader.watch())
    await eventually(lambda: process.reloader._seen is not None)
    yield process
    task.cancel()


async def test_a_change_is_applied_and_named(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    process = Process(config)
    first = process.reloader.configuration
    assert process.reloader.last is None
    write(config, limits={"in_flight": 7}, workers=1, listen="127.0.0.1:1")
    process.now = 200.0
    result = await process.reloader.reload()
    assert (result.applied, result.at_restart) == (("limits.in_flight",), ("listen.address",))
    assert [settings.limits.in_flight for settings in process.applied] == [7]
    assert process.reloader.last == (200.0, result)
    assert process.applied[0].listen != load(config).listen
    after = process.reloader.configuration
    assert (after.successful, after.at, after.digest) == (True, 200.0, load(config).digest)
    assert after.digest != first.digest
    (record,) = caplog.records
    assert (record.msg, vars(record)["changed"]) == ("config_reloaded", ["limits.in_flight"])
    assert vars(record)["needs_restart"] == ["listen.address"]


async def test_faults_change_nothing_and_are_all_said(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = Process(config)
    before = process.reloader.configuration
    write(config, limits={"in_flight": 0}, nonsense=1)
    result = await process.reloader.reload()
    assert [fault.partition(":")[0] for fault in result.faults] == ["limits.in_flight", "nonsense"]
    assert process.applied == []
    assert process.reloader.last == (100.0, result)
    assert process.reloader.configuration == before._replace(successful=False, reloads={"rejected": 1})
    (record,) = caplog.records
    assert (record.msg, vars(record)["faults"]) == ("config_rejected", list(result.faults))
    write(config)
    await process.reloader.reload()
    assert process.reloader.configuration.successful
    assert process.reloader.configuration.reloads == {"rejected": 1, "unchanged": 1}
    write(config, limits={"in_flight": 7})
    await process.reloader.reload()
    assert process.reloader.configuration.reloads == {"rejected": 1, "unchanged": 1, "applied": 1}


@pytest.mark.parametrize(("later", "told"), [(4.9, ("limits.in_flight",)), (5.0, ())])
async def test_who_asks_is_told_what_was_taken_up_just_before(
    config: Path, later: float, told: tuple[str, ...]
) -> None:
    """The process may notice a change by itself before the operator's command arrives. It is told once."""
    process = Process(config)
    write(config, limits={"in_flight": 7})
    assert (await process.reloader.reload(quiet=True)).applied == ("limits.in_flight",)
    process.now += later
    assert (await process.reloader.reload()).applied == told
    assert (await process.reloader.reload()).applied == ()
    assert len(process.applied) == 1


async def test_faults_are_told_rather_than_what_was_taken_up_before(config: Path) -> None:
    process = Process(config)
    write(config, limits={"in_flight": 7})
    await process.reloader.reload(quiet=True)
    write(config, nonsense=1)
    assert (await process.reloader.reload()).faults


async def test_settings_that_cannot_be_used_here_are_not_those_in_force(config: Path) -> None:
    process = Process(config)
    process.refuses = NotApplied("TLS: no")
    write(config, limits={"in_flight": 7})
    assert (await process.reloader.reload()).faults == ("TLS: no",)
    process.refuses = None
    assert (await process.reloader.reload()).applied == ("limits.in_flight",)


async def test_a_defect_is_logged_and_the_process_goes_on(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = Process(config)
    process.refuses = ZeroDivisionError("broken")
    write(config, limits={"in_flight": 7})
    assert (await process.reloader.reload()).faults
    assert [record.msg for record in caplog.records] == ["internal_error", "config_rejected"]


async def test_without_a_file_there_is_nothing_to_reload() -> None:
    settings = Settings.model_validate(changed())
    reloader = Reloader(settings, lambda _: asyncio.sleep(0))
    assert (await reloader.reload()).faults == ("the configuration did not come from a file",)
    await reloader.watch()


async def test_the_file_is_read_again_when_it_changes(watched: Process, config: Path) -> None:
    write(config, limits={"in_flight": 7})
    await eventually(lambda: len(watched.applied) == 1)
    write(config, nonsense=1)
    await eventually(lambda: not watched.reloader.configuration.successful)
    write(config, limits={"in_flight": 8})
    await eventually(lambda: [each.limits.in_flight for each in watched.applied] == [7, 8])


async def test_so_are_the_files_that_it_refers_to(config: Path, watched: Process) -> None:
    secret, pages = config.parent / "secret", config.parent / "pages"
    secret.write_text("s" * 40)
    pages.mkdir()
    client = {"client_id": "a", "client_secret": "${file:secret}"}
    write(config, clients=[client], login={"templates_dir": "pages"})
    await eventually(lambda: len(watched.applied) == 1)
    secret.write_text("t" * 40)
    await eventually(lambda: len(watched.applied) == 2)
    assert watched.applied[1].clients[0].client_secret is not None
    assert watched.applied[1].clients[0].client_secret.get_secret_value() == "t" * 40
    (pages / "login.html").write_text("{% broken")
    await eventually(lambda: not watched.reloader.configuration.successful)


async def test_a_symlink_that_is_swapped_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes: `sidecar.yaml` leads to `..data/sidecar.yaml`, and `..data` to a folder with a time."""
    monkeypatch.setattr("sidecar.runtime.reloading._LOOK_EVERY", 0.01)
    monkeypatch.setattr("sidecar.runtime.reloading._SETTLED_AFTER", 0.01)
    for number in (1, 2):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        write(folder / "sidecar.yaml", limits={"in_flight": number})
    data, path = tmp_path / "..data", tmp_path / "sidecar.yaml"
    data.symlink_to("..1")
    path.symlink_to("..data/sidecar.yaml")
    process = Process(path)
    task = asyncio.get_running_loop().create_task(process.reloader.watch())
    await eventually(lambda: process.reloader._seen is not None)
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(data)
    await eventually(lambda: [each.limits.in_flight for each in process.applied] == [2])
    task.cancel()


async def test_a_file_that_is_gone_for_a_while_costs_nothing(watched: Process, config: Path) -> None:
    aside = config.with_suffix(".aside")
    config.replace(aside)  # noqa: ASYNC240  a test
    await eventually(lambda: not watched.reloader.configuration.successful)
    aside.replace(config)
    await eventually(lambda: watched.reloader.configuration.successful)
    assert watched.applied == []


async def test_a_storm_of_signals_reloads_once_more_and_not_for_each(config: Path) -> None:
    process = Process(config)
    for number in range(50):
        write(config, limits={"in_flight": number + 1})
        process.reloader.soon()
    await eventually(lambda: not process.reloader._asked)
    assert [each.limits.in_flight for each in process.applied] == [50]
