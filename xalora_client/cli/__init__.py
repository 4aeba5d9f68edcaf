"""The ``xalora`` command: results on stdout, progress on stderr, and exit codes for scripts."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from importlib import import_module

from ..errors import XaloraError
from .arguments import parse
from .outcome import described, exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done, 1 task failed or canceled (or its result unusable), 2 usage or configuration, 3 network or server,
    4 timed out, 130 interrupted, after the remote cancel.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # File names may contain what cannot be printed.
    as_json = "--json" in (sys.argv[1:] if argv is None else argv)
    try:
        arguments = parse(argv)
        as_json = arguments.json
        import asyncio  # Imported late, so that help comes at once.

        module, name = arguments.command.split(".")
        code: int = asyncio.run(getattr(import_module(f".{module}", __name__), name)(arguments))
        return code
    except (KeyboardInterrupt, XaloraError) as error:
        summary = described(error)
        print(f"xalora: {summary['message']}", file=sys.stderr)
        if as_json:
            print(json.dumps(summary))
        return exit_code(error)
