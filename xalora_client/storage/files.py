"""Files that survive crashes: moves that leave no half of a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def move(file: Path, destination: Path) -> None:
    """Move a complete file to its place, replacing what is there, and flush its bytes and its name to the disk.

    Both are on one file system. The place's folder is made if it is missing. Raises OSError.
    """
    make_folder(destination.parent)
    _sync_bytes(file)
    file.replace(destination)
    sync_folder(destination.parent)


def sync(file: Path) -> None:
    """Flush a file's bytes and its name to the disk. Raises OSError."""
    _sync_bytes(file)
    sync_folder(file.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush each name to the disk. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _sync_bytes(file: Path) -> None:
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to the disk; Windows does that by itself. Raises OSError."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
