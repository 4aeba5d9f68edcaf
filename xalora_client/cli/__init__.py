"""The ``xalora`` command: results on stdout, progress on stderr, an exit code that scripts can rely on."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

from ..errors import (
    APIStatusError,
    ConfigurationError,
    DownloadError,
    NetworkError,
    ResponseError,
    TaskTimeoutError,
    XaloraError,
)
from .arguments import parse

DONE, TASK_FAILED, USAGE, NETWORK, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done, 1 task failed or canceled (or its result unusable), 2 usage or configuration, 3 network or server,
    4 timed out, 130 interrupted, after the remote cancel.
    """
    try:
        arguments = parse(argv)
    except ConfigurationError as error:
        return _complain(str(error), USAGE, "--json" in (sys.argv[1:] if argv is None else argv), error)
    try:
        code: int = asyncio.run(arguments.command(arguments))
    except KeyboardInterrupt:
        return _complain("Interrupted", INTERRUPTED, arguments.json)
    except XaloraError as error:
        return _complain(str(error), exit_code(error), arguments.json, error)
    return code


def exit_code(error: XaloraError) -> int:
    """The exit code an error stands for."""
    if isinstance(error, ConfigurationError):
        return USAGE
    if isinstance(error, TaskTimeoutError):
        return TIMED_OUT
    if isinstance(error, NetworkError | APIStatusError | ResponseError | DownloadError):
        return NETWORK
    return TASK_FAILED


def _complain(message: str, code: int, as_json: bool, error: XaloraError | None = None) -> int:
    print(f"xalora: {message}", file=sys.stderr)
    if as_json:
        kinds = [each.__name__ for each in (type(error) if error else KeyboardInterrupt).__mro__]
        kind = next(name for name in kinds if not name.startswith("_"))
        answer = {"error": kind, "message": message, "task_id": error.task_id if error else None}
        print(json.dumps(answer, ensure_ascii=False))
    return code
