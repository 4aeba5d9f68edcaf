"""The workflow files that come with the project."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import ConfigurationError, StorageError

_HERE = Path(__file__).parent


def ready_folder() -> Path:
    """Files for real work; they need models, whose names they say."""
    return _HERE / "ready"


def small_folder() -> Path:
    """Files for trying things out; they need no model and run on a CPU."""
    return _HERE / "small"


def copy_shipped(target: Path, *, small: bool = False) -> list[Path]:
    """Copy the shipped files to a folder, to be changed there.

    Args:
        target: The folder; it is made where it is missing.
        small: Copy those of ``small_folder`` instead of ``ready_folder``.

    Returns:
        The files written.

    Raises:
        ConfigurationError: A file is there already; none is written.
        StorageError: The folder cannot be written.
    """
    sources = sorted((small_folder() if small else ready_folder()).glob("*.json"))
    there = [source.name for source in sources if (target / source.name).exists()]
    if there:
        raise ConfigurationError(
            f"{target} has {', '.join(there)} already", advice="Name another folder, or move the files away."
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copyfile(source, target / source.name)) for source in sources]
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror}", advice="Name another folder, or free some space."
        ) from error
