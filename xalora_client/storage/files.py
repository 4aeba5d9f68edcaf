"""Files that survive crashes: a file is moved as a whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def move(file: Path, destination: Path) -> None:
    """Move a complete file, replacing what is at its destination, and flush its bytes and its name to the disk.

    Both are on one file system. The destination's folder is made if it is missing. Raises OSError.
    """
    make_folder(destination.parent)
    _flush(file, os.O_RDWR)
    file.replace(destination)
    sync_folder(destination.parent)


def sync(file: Path) -> None:
    """Flush a file's bytes and its name to the disk. Raises OSError."""
    _flush(file, os.O_RDWR)
    sync_folder(file.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush each name to the disk. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk; Windows does that by itself. Raises OSError."""
    if sys.platform != "win32":
        _flush(folder, os.O_RDONLY)


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
