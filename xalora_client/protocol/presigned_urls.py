"""Links whose query lets anybody who has it read a file for some time, as S3, Google and Azure sign them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from urllib.parse import unquote_plus

_AZURE = {"sv", "ss", "sr", "srt", "sp", "st", "se", "sip", "spr", "sig", "skoid", "sktid", "skt", "ske", "sks", "skv"}
_OLD_STYLE = {"awsaccesskeyid", "googleaccessid", "key-pair-id", "policy", "signature", "expires"}

# Also percent-encoded within another link, or without its host, as HTTP libraries write it into their errors.
_QUERY = re.compile(r"""(?:\?|%3f)[^\s"'<>]*""", re.IGNORECASE)
_SIGNATURE = re.compile(r"x-(?:amz|goog)-sig|(?<![a-z])sig(?:nature)?(?:=|%3d)", re.IGNORECASE)


def unsigned(text: str) -> str:
    """The link without its signature, which is a secret as long as it is valid. Any other text stays as it is."""
    head, mark, query = text.partition("?")
    if not mark or not head[:8].lower().startswith(("http://", "https://")):
        return text
    query, hash_mark, fragment = query.partition("#")
    names = set(_values(query))
    if not any(name.startswith(("x-amz-sig", "x-goog-sig")) or name in ("sig", "signature") for name in names):
        return text
    kept = [part for part in query.split("&") if not _belongs(part.partition("=")[0].lower())]
    return head + (f"?{'&'.join(kept)}" if kept else "") + hash_mark + fragment


def without_signatures(text: str) -> str:
    """A text to show, without the query of each signed link in it."""
    return _QUERY.sub(lambda query: "" if _SIGNATURE.search(query[0]) else query[0], text)


def expiry(text: str) -> datetime | None:
    """When a signed link ends, in UTC; None for a link that does not say so, and for any other text."""
    head, mark, query = text.partition("?")
    if not mark or not head[:8].lower().startswith(("http://", "https://")):
        return None
    values = _values(query.partition("#")[0])
    with suppress(ValueError, OverflowError):
        for maker in ("x-amz", "x-goog"):
            if f"{maker}-signature" in values and f"{maker}-expires" in values:
                begun = datetime.strptime(values[f"{maker}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
                return begun + timedelta(seconds=int(values[f"{maker}-expires"]))
        if "sig" in values and "se" in values:
            ends = datetime.fromisoformat(values["se"].replace("Z", "+00:00"))
            return ends if ends.tzinfo else ends.replace(tzinfo=timezone.utc)
        if "signature" in values and values.get("expires", "").isdigit():
            return datetime.fromtimestamp(int(values["expires"]), timezone.utc)
    return None


def _values(query: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in query.split("&"))
    return {name.lower(): unquote_plus(value) for name, _, value in pairs}


def _belongs(name: str) -> bool:
    return bool(re.match(r"x-(amz|goog)-", name)) or name in _AZURE or name in _OLD_STYLE
