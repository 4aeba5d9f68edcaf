"""Content codings that were not requested, decoded piece by piece: a kilobyte may decode to a gigabyte."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE = 64 * 1024
"""The most bytes that are decoded at once."""

_GZIP = 16 + zlib.MAX_WBITS
_MEMBER = b"\x1f\x8b"


class CodingError(Exception):
    """The bytes are not in the announced coding, or the coding is unknown."""


class Decoder:
    """Decodes what a Content-Encoding header names. An empty one and ``identity`` leave the bytes unchanged."""

    def __init__(self, coding: str) -> None:
        self._coding = coding.strip().lower()
        if self._coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise CodingError("it is in a content coding that was not asked for")
        self._plain = self._coding in ("", "identity")
        self._inflate: zlib._Decompress | None = None
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode these bytes, in pieces of at most 64 KiB. Raises CodingError."""
        if self._plain:
            yield data
            return
        piece = b""
        try:
            while data or len(piece) == PIECE:  # After a full piece there may be more without further input.
                if self._inflate is None:
                    if not data or (self._started and data[0] != _MEMBER[0]):
                        return  # A gzip file may have several members; after the last comes padding.
                    self._inflate = zlib.decompressobj(self._window(data[0]))
                    self._started = True
                piece = self._inflate.decompress(data, PIECE)
                data = self._inflate.unconsumed_tail
                if self._inflate.eof:
                    data, self._inflate = self._inflate.unused_data, None
                if piece:
                    yield piece
        except zlib.error:
            raise CodingError("its content coding is broken") from None

    def end(self) -> None:
        """Raise CodingError if the coding is not complete."""
        if self._inflate is not None:
            raise CodingError("it broke off in the middle of its content coding")

    def _window(self, first: int) -> int:
        if self._coding != "deflate":
            return _GZIP
        return zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS  # Some servers send it without the zlib header.
