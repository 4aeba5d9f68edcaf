"""Where results go: what cannot be written is refused before anything is charged."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import stat
import sys
from pathlib import Path

from ..errors import ConfigurationError, StorageError
from ..protocol.parameters import is_data_uri
from ..storage import files

STDOUT = "-"

_NAMES = {
    "picture": {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".heic", ".avif"},
    "video": {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"},
}
"""What the names of files end with that hold nothing else. GIF and WebP may hold both."""

_LONGEST_STEM = 200
"""Bytes. Most systems allow 255 for a name, and what is put behind it needs some."""


def check_file(output: str, result: str | None = None, *, as_json: bool = False) -> None:
    """Refuse a file that cannot be written, or that is named after another kind than the result's.

    ``output`` is as typed, "-" for stdout. ``result`` is "picture", "video", or None where that is not known.
    ``as_json`` says that a JSON object goes to stdout.
    """
    if output == STDOUT:
        if as_json or sys.stdout.isatty():
            other = "the JSON object goes" if as_json else "a terminal is"
            raise ConfigurationError(
                f"The result cannot go to stdout, where {other}", advice="Name a file, or send stdout to a program."
            )
        return
    path = Path(output)
    for kind, names in _NAMES.items():
        if result not in (None, kind) and path.suffix.lower() in names:
            advice = f"Name it something like {path.stem}{'.mp4' if result == 'video' else '.png'}."
            raise ConfigurationError(f"{output} is the name of a {kind}, and the result is a {result}", advice=advice)
    if is_folder(output):
        raise ConfigurationError(f"{output} is a folder", advice="Name a file after -o.")
    mode = _mode(path)
    if (
        stat.S_ISBLK(mode)
        or stat.S_ISSOCK(mode)
        or (files.is_written_into(path) and mode and not os.access(path, os.W_OK))
    ):
        raise ConfigurationError(f"{output} cannot be written", advice="Name another file after -o.")
    if not files.is_written_into(path):
        _check_folder(path.parent)


def is_folder(output: str) -> bool:
    """Whether the output is a folder, or is meant as one."""
    return output != STDOUT and (output.endswith(("/", os.sep)) or stat.S_ISDIR(_mode(Path(output))))


def prepare(output: str, count: int, *, as_json: bool = False) -> None:
    """Prepare the output for ``count`` pictures, before anything is charged: a folder, or one file."""
    folder = Path(output)
    is_file_name = output == STDOUT or folder.suffix.lower() in {".gif", ".webp"}.union(*_NAMES.values())
    mode = 0 if output == STDOUT else _mode(folder)
    if not is_folder(output) and (is_file_name or mode):
        if count > 1:
            raise ConfigurationError(f"{output} is one file, for {count} images", advice="Name a folder after -o.")
        check_file(output, "picture", as_json=as_json)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be made: {error.strerror}", advice="Name another folder after -o."
        ) from error
    _check_folder(folder)


def stem(image: str) -> str:
    """What an image's result is named after: its file name, in characters and a length that every system allows."""
    name = "" if is_data_uri(image) else Path(image.split("?")[0]).stem
    name = re.sub(r'[<>:"|*\\\x00-\x1f]', "_", name)
    return os.fsencode(name)[:_LONGEST_STEM].decode(errors="ignore") or "image"


def next_name(output: str, number: int, file: Path) -> tuple[str, int]:
    """Where a further result goes: to ``x-2.png`` after ``x.png``, or to the next number that no other file has.

    Where the output is no file but stdout, a pipe or a device, it stays in the store. Returns its path and number.
    """
    first = Path(output)
    if output == STDOUT or not stat.S_ISREG(_mode(first)):
        return str(file), number
    while True:
        path = first.with_name(f"{first.stem}-{number}{first.suffix}")
        if not _mode(path) or filecmp.cmp(path, file, shallow=False):
            return str(path), number
        number += 1


def save(file: Path, task_id: str, output: str) -> None:
    """Copy the file out of the store: as a whole or not at all, but for a pipe or a device. Raises StorageError."""
    try:
        if output == STDOUT:
            sys.stdout.flush()
            # Not by sys.stdout, which drops what nobody reads any more.
            with file.open("rb") as source, open(sys.stdout.fileno(), "wb", closefd=False) as target:
                shutil.copyfileobj(source, target)
            return
        files.copy(file, Path(output))
    except OSError as error:
        raise StorageError(
            f"{'stdout' if output == STDOUT else output} cannot be written: {error.strerror}",
            task_id=task_id,
            advice=f"The result is safe in {file}.",
        ) from error


def is_free(output: str) -> bool:
    """Whether it is the name of a file that is not there yet."""
    return output != STDOUT and not os.path.lexists(output)


def _mode(path: Path) -> int:
    """What kind of file is there, as in ``st_mode``; 0 for none. Raises ConfigurationError for an impossible name."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{path} cannot be written: {reason}", advice="Name another after -o.") from error


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder {folder} to write to", advice="Make it first.")
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(
            f"The folder {folder} cannot be written", advice="Make it writable, or name another after -o."
        )
