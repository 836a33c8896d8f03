"""Files that hold a secret. `test_keys.py` has the faults as an operator sees them."""

import os
import stat
from pathlib import Path

import pytest

from sidecar.cli.secret_files import write_secret


def test_its_owner_alone_may_read_a_file_whatever_the_umask_is(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        write_secret(tmp_path / "new", "text\n")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    assert (tmp_path / "new").read_text() == "text\n"


def test_half_a_file_is_removed(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_secret(tmp_path / "new", "\udcff")
    assert not (tmp_path / "new").exists()
