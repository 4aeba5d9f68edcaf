"""stdout and stderr that are closed, or whose reader goes away: no task may be lost for a line that nobody reads."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

LEVELS = ("debug", "info", "warning", "error")


class _Stream(io.FileIO):
    """Drops what it cannot write, and all that follows. Errors other than those it ``allows`` are raised once."""

    def __init__(self, handle: int, allows: type[OSError]) -> None:
        super().__init__(handle, "w", closefd=False)
        self._allows = allows
        self._failed = False
        self._interrupted = 0

    def write(self, content: Any) -> int:
        """Write, as far as that is still possible."""
        # What a signal interrupted counts as written: the flush at the end must not repeat it.
        if self._interrupted:
            skipped, self._interrupted = self._interrupted, 0
            return skipped
        if not self._failed:
            try:
                return super().write(content)
            except KeyboardInterrupt:
                self._interrupted = memoryview(content).nbytes
                raise
            except OSError as error:
                # The rest is dropped, so that Python's own flush at the end does not change the exit code.
                self._failed = True
                if not isinstance(error, self._allows):
                    raise
        return memoryview(content).nbytes


def prepare() -> None:
    """Make stdout and stderr safe to write to for the rest of the process.

    Of stdout only a reader that has gone away is allowed, as in ``| head``: a full disk is an error.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # Those of libraries are for who programs with them.
    for name, allows in (("stdin", OSError), ("stdout", BrokenPipeError), ("stderr", OSError)):
        stream = getattr(sys, name)
        if stream is None:  # Its number is free, and must not become a database's.
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # File names may contain what cannot be printed.
            # Not of Windows' console, which is no such file, nor of one that somebody else has put there.
            raw = getattr(stream.buffer, "raw", stream.buffer)  # Unbuffered, it has no other.
            if isinstance(raw, io.FileIO) and stream is getattr(sys, f"__{name}__"):
                setattr(sys, name, _replaced(stream, allows))


@contextmanager
def logging_from(level: str) -> Iterator[None]:
    """Meanwhile write what is done to stderr, from this level on; "" changes nothing.

    Raises ConfigurationError for a level that is none of LEVELS.
    """
    if not level:
        yield
        return
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"XALORA_LOG is {level[:40]!r}", advice=f"Allowed: {', '.join(LEVELS)}.")
    logger, handler = logging.getLogger("xalora_client"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False  # A server has a handler of its own for all that is logged.
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _replaced(stream: io.TextIOWrapper, allows: type[OSError]) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(stream.fileno(), allows)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )
