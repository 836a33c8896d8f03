"""The section `logging`."""

from pathlib import Path

import yaml

from sidecar.config.load import load
from tests.support.settings import changed


def test_off_may_be_written_without_quotes(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.yaml"
    path.write_text(yaml.safe_dump(changed()) + "logging:\n  admitted: off\n")
    assert load(path).logging.admitted == "off"
