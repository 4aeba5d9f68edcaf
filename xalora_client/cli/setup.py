"""``xalora login`` and ``xalora doctor``: to set up this machine, and to see what is wrong with it.

Keys are typed, so that they are not in the shell's history, and stored in a file that only its owner can read.
"""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import config
from ..config import validation
from ..errors import ConfigurationError
from ..errors.messages import COMMAND
from .arguments import parser as arguments_of_all
from .outcome import print_result

ASKED: dict[str, tuple[tuple[str, str], ...]] = {
    "s3": (
        ("access_key_id", "Access key id"),
        ("secret_access_key", "Secret access key"),
        ("endpoint", "Endpoint (empty for Amazon)"),
        ("region", "Region (empty for us-east-1; auto for R2)"),
    ),
    "gs": (("service_account", "File of the service account's key"),),
    "az": (("account_name", "Storage account"), ("account_key", "Account key")),
}
"""What is asked for each kind of bucket: obstore's names, and the questions."""

STATUSES = {"ok": "ok     ", "warning": "warning", "problem": "problem"}


async def login(arguments: argparse.Namespace) -> int:
    """``xalora login [--url URL] [--bucket ADDRESS]``: store the API key, or a bucket and its credentials."""
    home = config.home_folder()
    changes: dict[str, Any] = {"workflow_url": arguments.url} if arguments.url else {}
    if arguments.bucket:
        bucket = validation.checked_bucket(arguments.bucket)
        path = config.store(home, **changes, bucket=bucket, bucket_options=_bucket_options(bucket))
    else:
        key = _typed("API key (consumer#key)")
        if key or not arguments.url or validation.is_public(validation.checked_url(arguments.url)):
            changes["api_key"] = key or " "  # Which is refused.
        path = config.store(home, **changes)
    print_result(arguments, {"path": str(path)}, f"Stored in {path}")
    return 0


async def doctor(arguments: argparse.Namespace) -> int:
    """``xalora doctor``: 1 where there is a problem, else 0."""
    from ..client.doctor import Check, examine, worst  # Imports HTTP and decoders, which a login does not need.

    def show(check: Check) -> None:
        if not arguments.json:
            print(f"{STATUSES[check.status]}  {check.name}: {check.text}", flush=True)
            if advice := check.advice_for(COMMAND):
                print(f"         {advice}", flush=True)

    checks = await examine(workflow_url=validation.SANDBOX if arguments.sandbox else None, on_check=show)
    print_result(arguments, {"status": worst(checks), "checks": [check.to_json(COMMAND) for check in checks]})
    return 1 if worst(checks) == "problem" else 0


async def completion(arguments: argparse.Namespace) -> int:
    """``xalora completion bash|zsh|fish``: print the shell's script."""
    import shtab

    parser = arguments_of_all()
    for each in _parsers(parser):
        for action in each._actions:
            if action.type is Path or re.search("FILE|DIR|IMAGE", str(action.metavar)):
                setattr(action, "complete", shtab.FILE)  # noqa: B010 - not declared
    print_result(arguments, {"script": (script := shtab.complete(parser, arguments.shell))}, script)
    return 0


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _parsers(each)


def _bucket_options(address: str) -> dict[str, str]:
    typed = {name: _typed(question) for name, question in ASKED[address.partition(":")[0]]}
    options = {name: value for name, value in typed.items() if value}
    if "service_account" in options:
        file = Path(options["service_account"]).expanduser().absolute()
        if not file.is_file():  # Not shown: it may be the key itself.
            raise ConfigurationError("There is no such file", advice="Type the path of the service account's key file.")
        options["service_account"] = str(file)
    return options


def _typed(question: str) -> str:
    line = getpass.getpass(f"{question}: ") if sys.stdin.isatty() else sys.stdin.readline()
    return line.strip()
