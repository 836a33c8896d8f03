"""Writes files that contain a secret."""

import os
from pathlib import Path


def write_secret(path: Path, text: str) -> None:
    """Create a file of mode 0600 that contains `text`. Raises `OSError`, also if a file or link has this name, and
    `UnicodeEncodeError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()  # do not leave an incomplete key
        raise
