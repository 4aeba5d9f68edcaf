"""``xalora login``: keys are typed, so that they are not in the shell's history, and stored readable by one alone."""

from __future__ import annotations

import argparse
import getpass
import json
import sys

from .. import config
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
        path = config.store(home, bucket=arguments.bucket, bucket_options=_bucket_options(arguments.bucket))
    else:
        path = config.store(home, api_key=_typed("API key (consumer#key)") or " ")
    print(json.dumps({"path": str(path)}) if arguments.json else f"Stored in {path}")
    return 0


def _bucket_options(address: str) -> dict[str, str]:
    asked = ASKED.get(address.partition(":")[0])
    if asked is None:
        raise ConfigurationError(
            "This is not the address of a bucket", advice="Write s3://name/prefix, gs://name/prefix or az://container."
        )
    typed = {name: _typed(words) for name, words in asked}
    return {name: value for name, value in typed.items() if value}


def _typed(words: str) -> str:
    line = getpass.getpass(f"{words}: ") if sys.stdin.isatty() else sys.stdin.readline()
    return line.strip()
