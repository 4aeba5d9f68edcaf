"""Where media lives: files named by the hash of their content, so that the same bytes are kept once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import ConfigurationError

_ADVICE = "Free some space or make the folder writable, or point XALORA_HOME elsewhere."


class MediaStore:
    """The folder ``media`` in the Xalora home.

    ``ab/abcdef….mp4`` holds a finished file, ``incoming`` what is being downloaded, ``rejected`` what could not be
    read and is kept for inspection.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "media"

    def incoming(self) -> Path:
        """Make an empty file to download into. Raises ConfigurationError when the folder cannot be written."""
        folder = self.folder / "incoming"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        except OSError as error:
            raise ConfigurationError(
                f"Media cannot be written to {folder}: {error.strerror}", advice=_ADVICE
            ) from error
        os.close(handle)
        return Path(name)

    def adopt(self, file: Path, sha256: str, extension: str) -> Path:
        """Move a complete file to its place; returns that place. ``extension`` begins with a dot."""
        place = self.folder / sha256[:2] / f"{sha256}{extension}"
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
        return place

    def reject(self, file: Path, name: str) -> Path:
        """Keep a file that cannot be read where a person finds it; returns that place."""
        place = self.folder / "rejected" / "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:100]
        place.parent.mkdir(parents=True, exist_ok=True)
        file.replace(place)
        return place
