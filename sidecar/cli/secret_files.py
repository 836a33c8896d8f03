"""Files that hold a secret."""

import os
from pathlib import Path


def write_secret(path: Path, text: str) -> None:
    """Make a file of mode 0600 that holds `text` (ASCII). Raises `OSError`, also when a file or a link has this name."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  a descriptor
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()  # half a key
        raise
