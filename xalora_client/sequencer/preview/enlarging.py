"""The upscaler: fetch an image, and enlarge it twice with Lanczos."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import aiohttp
import numpy as np
from PIL import Image, ImageOps
from yarl import URL

from ...protocol.parameters import decode_data_uri, is_data_uri

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 2**25
"""Of the image before it is enlarged; 8K UHD (7680 x 4320) is just below."""
_FETCH_SECONDS = 60


class ImageError(Exception):
    """The image to enlarge cannot be read; the text becomes the task's ``msg``."""


async def fetch_image(address: str) -> bytes:
    """Return the bytes behind an http or https URL or in a ``data:`` URI.

    Raises ImageError when there are none, when there are more than 64 MiB, or after 60 seconds.
    """
    if is_data_uri(address):
        # Decoding a large one takes a moment, and the loop must stay free.
        return await asyncio.to_thread(_from_data_uri, address)
    # Proxies from the environment are not used for this machine itself.
    try:
        local = URL(address).host in ("localhost", "127.0.0.1", "::1")
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=not local) as session,
            session.get(address) as answer,
        ):
            if answer.status != 200:
                raise ImageError(f"the image cannot be fetched: its server answered {answer.status}")
            body = bytearray()
            async for piece in answer.content.iter_chunked(2**16):
                body += piece
                _check_bytes(len(body))
            return bytes(body)
    except asyncio.TimeoutError:
        raise ImageError(f"the image cannot be fetched: no answer within {_FETCH_SECONDS} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise ImageError(f"the image cannot be fetched: {type(error).__name__}") from error


def upscale(data: bytes, path: Path) -> None:
    """Enlarge an image file twice with Lanczos and write it as a lossless PNG.

    Colors and alpha are resized separately, so colors do not depend on what is transparent. Of an animation the first
    frame is used. Raises ImageError when the bytes are not an image or the image is too large.
    """
    picture = _decode(data)
    size = (2 * picture.width, 2 * picture.height)
    colors = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    if picture.mode == "RGBA":
        colors.putalpha(picture.getchannel("A").resize(size, Image.Resampling.LANCZOS))
    # The fastest level, because the file stays on this machine.
    colors.save(path, "PNG", compress_level=1)


def _from_data_uri(uri: str) -> bytes:
    try:
        _, content = decode_data_uri(uri)
    except ValueError as error:
        raise ImageError(f"the image's data: URI cannot be read: {error}") from error
    _check_bytes(len(content))
    return content


def _check_bytes(count: int) -> None:
    if count > MAX_BYTES:
        raise ImageError(f"the image is too large: more than {MAX_BYTES} bytes")


def _decode(data: bytes) -> Image.Image:
    """Return the image upright, as 8-bit RGB or RGBA."""
    try:
        with Image.open(io.BytesIO(data)) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ImageError(f"the image is too large: more than {MAX_PIXELS} pixels")
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):
                # Pillow clips 16-bit values at 255 instead of scaling them.
                picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
            return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"the image is too large: more than {MAX_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"the image cannot be decoded: {type(error).__name__}") from error
