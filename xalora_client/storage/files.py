"""Files that survive crashes: a file is moved as a whole or not at all.

Network disks and foreign file systems lack some of what local ones have. What can be done without is left out.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
import uuid
from pathlib import Path

_PAUSES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
"""Seconds between tries of a move: on Windows, a virus scanner that reads a new file keeps it from being moved."""

_NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.EACCES}
"""What file systems answer that cannot do something, such as flush a folder."""


def replace(file: Path, destination: Path) -> None:
    """Rename a file, replacing what is at its destination. Raises OSError."""
    for pause in _PAUSES:
        try:
            file.replace(destination)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    file.replace(destination)


def touch(file: Path) -> None:
    """Set a file's times to now, if the file system can. Raises FileNotFoundError."""
    try:
        os.utime(file)
    except FileNotFoundError:
        raise
    except OSError:
        pass


def move(file: Path, destination: Path) -> None:
    """Move a complete file, replacing what is at its destination, and flush its bytes and its name to the disk.

    Both are on one file system. The destination's folder is made if it is missing. Raises OSError.
    """
    make_folder(destination.parent)
    _flush(file, os.O_RDWR)
    replace(file, destination)
    sync_folder(destination.parent)


def is_written_into(path: Path) -> bool:
    """Whether the file stays, and gets other content: a pipe, a device, or a link such as /dev/stdout."""
    return path.is_symlink() or (path.exists() and not path.is_file())


def copy(file: Path, destination: Path) -> None:
    """Copy a file, replacing what is at its destination, as a whole or not at all. Raises OSError.

    A pipe, a device or what a link leads to is written into instead, unless that is the file itself.
    """
    if is_written_into(destination):
        if not (destination.exists() and destination.samefile(file)):
            with file.open("rb") as source, destination.open("wb") as target:
                shutil.copyfileobj(source, target)
        return
    fresh = destination.with_name(f".{uuid.uuid4().hex}.new")
    try:
        shutil.copyfile(file, fresh)
        replace(fresh, destination)
    finally:
        fresh.unlink(missing_ok=True)


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
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    finally:
        os.close(handle)
