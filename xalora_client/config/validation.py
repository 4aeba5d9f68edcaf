"""The form of a server's address, of a bucket's address and of an upload method."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from ..errors import ConfigurationError
from ..protocol.requests import pasted
from ..protocol.urls import Link

DEFAULT_URL = "https://sequencer-v2.xalora.xyz"
SANDBOX = "sandbox"
USUAL_PORT = 8787
"""The port of a sequencer that is told no other."""
EXAMPLE_URL = f"http://192.168.1.20:{USUAL_PORT}"

LOCAL_SUFFIXES = (".localhost", ".local", ".lan", ".home.arpa", ".internal")
"""Names that nobody can register."""

URL, IMAGE_DELIVERY, BUCKET = "XALORA_WORKFLOW_URL", "XALORA_IMAGE_DELIVERY", "XALORA_BUCKET"

AUTO, BY_BUCKET, BY_SEQUENCER, BY_DATA_URI = "auto", "bucket", "sequencer", "data-uri"
UPLOAD_METHODS = (AUTO, BY_BUCKET, BY_SEQUENCER, BY_DATA_URI)
"""How images get to the miners. ``auto`` takes the first of the others that can be used."""


def is_public(url: str) -> bool:
    """Whether the server is that of Xalora's public network, however its address is written."""
    try:
        return Link.parse(url).host.rstrip(".") == Link.parse(DEFAULT_URL).host
    except ValueError:
        return False


def checked_upload_method(word: str) -> str:
    """Return the word in lower case. Raises ConfigurationError unless it is one of UPLOAD_METHODS."""
    word = pasted(word).lower()
    if word not in UPLOAD_METHODS:
        raise ConfigurationError(
            f"{IMAGE_DELIVERY} is {word[:40]!r}",
            advice=f"Allowed: {', '.join(UPLOAD_METHODS[:-1])} or {UPLOAD_METHODS[-1]}.",
        )
    return word


def checked_bucket(address: str) -> str:
    """Return the address without a trailing slash. Raises ConfigurationError unless it names a bucket alone."""
    address = pasted(address).rstrip("/")
    if not re.fullmatch(r"(s3|gs|az)://[A-Za-z0-9._-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*", address):
        raise ConfigurationError(
            f"{BUCKET} is not the address of a bucket",
            advice="Write s3://name/prefix, gs://name/prefix or az://container/prefix, of letters, digits and ._~- "
            'alone; no part of the prefix may be empty, "." or "..". Its endpoint and credentials are set by the '
            "provider's own variables, such as AWS_ENDPOINT_URL.",
        )
    return address


def checked_url(url: str) -> str:
    """Return the URL without a trailing slash. Raises ConfigurationError where requests could not be sent to it.

    Without a scheme, as in "gpu-box" or "192.168.1.20", it gets one: in a private network http and the sequencer's
    usual port, elsewhere https, so that a key is never sent in the clear. One with a scheme stays as it is written:
    tasks are known by it.
    """
    url = pasted(url)
    if url.lower() == SANDBOX:
        return SANDBOX
    is_bare, reason = not re.match(r"[a-z][a-z0-9+.-]*:/", url, re.IGNORECASE), ""
    if is_bare:
        with suppress(ValueError):
            url = f"[{IPv6Address(url)}]"
    link = None
    try:
        link = Link.parse(f"http://{url}" if is_bare else url)
    except ValueError as error:
        reason = f": {error}"
    if link is None or link.login is not None or "?" in link.target or "#" in url:
        raise ConfigurationError(
            code="server_form", params={"example": EXAMPLE_URL, "reason": reason}, remedy="check-server"
        )
    if is_bare:
        scheme = "http" if _is_private(link.host) else "https"
        typed = re.search(r":(\d+)$", url.partition("/")[0])
        port = f":{int(typed[1])}" if typed else f":{USUAL_PORT}" if scheme == "http" else ""
        url = f"{scheme}://{link.url_host}{port.removesuffix(':443') if scheme == 'https' else port}{link.target}"
    return url.rstrip("/")


def is_same_server(one: str, other: str) -> bool:
    """Whether two valid addresses are one, however they are written."""

    def parts(url: str) -> tuple[object, ...]:
        link = Link.parse(url)
        return link.scheme, link.host, link.port, link.target.rstrip("/")

    with suppress(ValueError):
        return one == other or parts(one) == parts(other)
    return False


def _is_private(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host.rstrip(".") or host.rstrip(".").endswith(LOCAL_SUFFIXES)
