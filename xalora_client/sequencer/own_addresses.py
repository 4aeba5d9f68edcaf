"""What an address names, when it is one that this server gives to its results and to uploaded images."""

from __future__ import annotations

import re

from yarl import URL

_RESULT = re.compile(r"/media/([0-9a-f]{64}\.[a-z0-9]{1,5})")
_IMAGE = re.compile(r"/images/([A-Za-z0-9_-]{43})")


def result_in(address: str) -> str | None:
    """The name of a result's file; None for other addresses."""
    return _part(address, _RESULT)


def image_token_in(address: str) -> str | None:
    """The token of an uploaded image; None for other addresses."""
    return _part(address, _IMAGE)


def _part(address: str, pattern: re.Pattern[str]) -> str | None:
    try:
        path = URL(address).path if address[:4].lower() == "http" else ""
    except ValueError:
        return None
    match = pattern.fullmatch(path)
    return match[1] if match else None
