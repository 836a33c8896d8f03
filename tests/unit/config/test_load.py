"""Reading the file: every fault at once, each with its path."""

from pathlib import Path

import pytest

from sidecar.config.load import SettingsError, load
from tests.support.settings import CLIENT, changed, faults_of


def test_all_faults_come_together(file: Path) -> None:
    document = changed(
        listen="x", workers=2, upstream__url="", tokens__leeway="1h", clients=[CLIENT, {**CLIENT, "x": 1}]
    )
    paths = {fault.partition(":")[0] for fault in faults_of(file, document)}
    assert paths == {"listen", "workers", "upstream.url", "tokens.leeway", "clients[1].x", "clients[1].client_id"}


@pytest.mark.parametrize("text", ["", "- a", "just text", "5", "null", "a: [", "a: 1\na: 2", "\t", "a: \x00"])
def test_what_is_no_configuration_is_one_fault(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert len(caught.value.faults) == 1


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)
