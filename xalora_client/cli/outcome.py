"""How the outcome of a command is reported: an exit code and JSON for scripts, lines for people."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from .. import errors
from ..errors import XaloraError
from ..errors.messages import COMMAND
from .signals import EndedBySignal

TASK_FAILED, USAGE, NETWORK, TIMED_OUT, INTERRUPTED = 1, 2, 3, 4, 130


def print_result(arguments: argparse.Namespace, summary: Mapping[str, Any], *lines: str) -> None:
    """Print the result of a command on stdout: the summary with ``--json``, else the lines. Raises StorageError."""
    try:
        for line in [json.dumps(summary, default=str)] if arguments.json else lines:
            print(line, flush=True)
    except OSError as error:
        raise errors.StorageError(f"stdout cannot be written: {error.strerror}", advice="Free some space.") from error


def exit_code(error: BaseException) -> int:
    """The exit code for an error."""
    if isinstance(error, errors.ConfigurationError | errors.StorageError):
        return USAGE
    if isinstance(error, errors.TaskTimeoutError):
        return TIMED_OUT
    if isinstance(error, errors.NetworkError | errors.APIStatusError | errors.ResponseError | errors.DownloadError):
        return NETWORK
    if isinstance(error, EndedBySignal):
        return 128 + error.number
    return TASK_FAILED if isinstance(error, XaloraError) else INTERRUPTED


def described(error: BaseException) -> dict[str, Any]:
    """An error for ``--json``: its public class, its message, its task, and what to do next."""
    # Some classes are internal to the SDK; scripts see the public class they derive from.
    public = (XaloraError.__module__, "builtins")
    kind = next(base.__name__ for base in type(error).__mro__ if base.__module__ in public)
    known = error if isinstance(error, XaloraError) else None
    return {
        "error": kind,
        "message": text(error),
        "task_id": known and known.task_id,
        "advice": known and known.advice_for(COMMAND),
        "remedy": known and known.remedy,
        "status_code": error.status_code if isinstance(error, errors.APIStatusError) else None,
        "exit_code": exit_code(error),
    }


def text(error: BaseException) -> str:
    """The message for whoever typed the command."""
    return error.text(COMMAND) if isinstance(error, XaloraError) else str(error) or "Interrupted"
