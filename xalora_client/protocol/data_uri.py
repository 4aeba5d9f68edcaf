"""``data:`` URIs (RFC 2397): bytes that travel in place of an address."""

from __future__ import annotations

import base64
from urllib.parse import unquote_to_bytes


def is_data_uri(address: str) -> bool:
    """Whether this is a ``data:`` URI; schemes know no case."""
    return address[:5].lower() == "data:"


def encode(content: bytes, media_type: str) -> str:
    """The bytes as a ``data:`` URI, in base64."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def decode(uri: str) -> tuple[str, bytes]:
    """The media type, in lower case, and the bytes. Raises ValueError, which says why, where there are none."""
    head, comma, body = uri[5:].partition(",")
    if not comma:
        raise ValueError("it has no comma")
    media_type, *options = (part.strip().lower() for part in head.split(";"))
    content = unquote_to_bytes(body)
    if "base64" in options:
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)  # Some break it into lines.
        except ValueError as error:
            raise ValueError(f"it is not base64: {error}") from error
    return media_type, content
