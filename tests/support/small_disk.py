"""A small disk that a test can fill: a file system in memory, which needs the right to mount one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path


class SmallDisk:
    """The disk that is mounted at ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def mount(cls, folder: Path, size: str = "8m") -> SmallDisk:
        """A new disk. Raises OSError or CalledProcessError where that is not allowed."""
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "xalora-test", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return cls(folder)

    def fill(self) -> None:
        """Leave no byte."""
        handle = os.open(self.folder / "filler", os.O_WRONLY | os.O_CREAT)
        try:
            for size in (2**16, 1):
                while _fits(handle, size):
                    pass
        finally:
            os.close(handle)

    def free(self) -> None:
        """Make room again."""
        (self.folder / "filler").unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True, capture_output=True)


def _fits(handle: int, size: int) -> bool:
    try:
        return os.write(handle, bytes(size)) > 0
    except OSError:
        return False


def why_no_small_disk() -> str:
    """Why there can be none here; nothing where there can be."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            SmallDisk.mount(Path(folder)).unmount()
        except (OSError, subprocess.CalledProcessError):
            return "no file system can be mounted here"
    return ""
