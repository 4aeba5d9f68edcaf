"""The ``xalora`` command: results on stdout, progress on stderr, and exit codes for scripts."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from ..errors import XaloraError
from . import streams
from .arguments import LOG, PROFILE, parse
from .outcome import described, exit_code
from .signals import ending_in_order


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done, 1 task failed or canceled (or its result unusable), 2 usage or configuration, 3 network or server,
    4 timed out; after the remote cancel 130 interrupted, 143 ended by SIGTERM, 129 by SIGHUP.
    """
    streams.prepare()
    as_json = "--json" in (sys.argv[1:] if argv is None else argv)
    try:
        with ending_in_order() as run:
            arguments = parse(argv)
            as_json = arguments.json
            if arguments.profile:
                os.environ[PROFILE] = arguments.profile  # Also for what is started from here.
            module, name = arguments.command.split(".")
            with streams.logging_from(os.environ.get(LOG) or ("info" if arguments.verbose else "")):
                return run(partial(getattr(import_module(f".{module}", __name__), name), arguments))
    except (KeyboardInterrupt, XaloraError) as error:
        summary = described(error)
        print(f"xalora: {summary['message']}", file=sys.stderr)
        if as_json:
            print(json.dumps(summary))
        return exit_code(error)
