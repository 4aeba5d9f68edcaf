"""``xalora login``: keys are typed, so that they are not in the shell's history, and stored readable by one alone."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path

from .. import config
from ..config import validation
from ..errors import ConfigurationError

ASKED = {
    "s3": (
        ("access_key_id", "Access key id"),
        ("secret_access_key", "Secret access key"),
        ("endpoint", "Endpoint (empty for Amazon)"),
        ("region", "Region (empty for us-east-1; auto for R2)"),
    ),
    "gs": (("service_account", "File of the service account's key"),),
    "az": (("account_name", "Storage account"), ("account_key", "Account key")),
}
"""What is asked for each kind of bucket: obstore's names, and words."""


async def login(arguments: argparse.Namespace) -> int:
    """``xalora login [--bucket ADDRESS]``: store the API key, or a bucket and its credentials."""
    home = config.home_folder()
    if arguments.bucket:
        bucket = validation.checked_bucket(arguments.bucket)
        path = config.store(home, bucket=bucket, bucket_options=_bucket_options(bucket))
    else:
        path = config.store(home, api_key=_typed("API key (consumer#key)") or " ")
    print(json.dumps({"path": str(path)}) if arguments.json else f"Stored in {path}")
    return 0


def _bucket_options(address: str) -> dict[str, str]:
    typed = {name: _typed(words) for name, words in ASKED[address.partition(":")[0]]}
    options = {name: value for name, value in typed.items() if value}
    if "service_account" in options:
        file = Path(options["service_account"]).expanduser().absolute()
        if not file.is_file():  # Not shown: it may be the key itself.
            raise ConfigurationError("There is no such file", advice="Type the path of the service account's key file.")
        options["service_account"] = str(file)
    return options


def _typed(words: str) -> str:
    line = getpass.getpass(f"{words}: ") if sys.stdin.isatty() else sys.stdin.readline()
    return line.strip()
