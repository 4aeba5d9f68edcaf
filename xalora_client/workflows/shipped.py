"""The workflow files that come with the project."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import ConfigurationError, StorageError

READY_FOLDER = Path(__file__).parent / "ready"
"""Files for real work; they need models, which they name."""

SMALL_FOLDER = Path(__file__).parent / "small"
"""Files for trying things out; they need no model and run on a CPU."""


def copy_shipped(target: Path, *, small: bool = False) -> list[Path]:
    """Copy the shipped files to a folder, to be changed there.

    Args:
        target: The folder; it is made where it is missing.
        small: Copy those of ``SMALL_FOLDER`` instead of ``READY_FOLDER``.

    Returns:
        The files written.

    Raises:
        ConfigurationError: A file is there already; none is written.
        StorageError: The folder cannot be written.
    """
    sources = sorted((SMALL_FOLDER if small else READY_FOLDER).glob("*.json"))
    existing = [source.name for source in sources if (target / source.name).exists()]
    if existing:
        raise ConfigurationError(
            f"{target} has {', '.join(existing)} already", advice="Name another folder, or move the files away."
        )
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copyfile(source, target / source.name)) for source in sources]
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror}", advice="Name another folder, or free some space."
        ) from error
