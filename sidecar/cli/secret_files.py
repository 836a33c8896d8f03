"""Files that contain a secret."""

import os
from pathlib import Path


def write_secret(path: Path, text: str) -> None:
    """Create a file of mode 0600 with `text` (ASCII). Raises `OSError`, also when a file or a link of this name exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123  a descriptor
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()  # it may contain half a key
        raise
