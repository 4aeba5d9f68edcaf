"""Where a download may be sent on to. Which machines it may contact at all is for the transport: it knows them."""

from __future__ import annotations

import re

from ...engine.exchange import logger
from ...errors import DownloadError
from ...protocol.links import Link, shown


def redirected(url: str, location: str) -> str:
    """Where a redirect leads, or DownloadError where it may not lead: it is the server's word, not the user's."""
    kind = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]{0,20}):", location)
    if kind is not None and kind[1].lower() not in ("http", "https"):
        raise DownloadError(f"The download was redirected to an unsafe address, of the kind {kind[1]}:")
    try:
        old = Link.parse(url)
        new = old.join(location)
    except ValueError:
        raise DownloadError("The download was redirected to something that is no address") from None
    if old.scheme == "https" and new.scheme == "http":
        raise DownloadError(f"The download was redirected to an unsafe address, {new.shown}")
    return new.text


def warn_of_plain(sequencer: str, url: str) -> None:
    """Say that a secure sequencer names an address that is not. It is asked all the same: the result is paid for."""
    if sequencer.lower().startswith("https:") and url.strip().lower().startswith("http:"):
        logger.warning("The result is fetched without encryption, for the server names it so: %s", shown(url))
