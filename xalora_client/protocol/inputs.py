"""Images in a task's details that miners cannot fetch: files, pixels and ``data:`` URIs.

Before a task is created, each image gets an address. Until then it is known by the hash of its content.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidParameterError
from .parameters import decode_data_uri, is_data_uri
from .pixels import picture_of
from .urls import without_signatures

_PNG = "image/png"
_STARTS = ((b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))
"""How files begin. What they really are is found out before they are sent."""


class InputImage:
    """An image that is encoded when it is needed, for a parameter that takes an image's address.

    Args:
        content: Returns the encoded bytes. It is called in a thread, at most once at a time, and again if needed.
        sha256: Returns the hash, as 64 hex digits in lower case, of what makes two images the same: of the file's
            bytes, or of the pixels. It is called in a thread, once.
        media_type: The type of the encoded bytes, such as "image/png".
        name: What messages call the image.
        is_checked: It is one whole PNG, JPEG, WebP or GIF. Else it is decoded before it is sent, to find out.
    """

    def __init__(
        self,
        content: Callable[[], bytes],
        sha256: Callable[[], str],
        media_type: str,
        name: str = "the image",
        *,
        is_checked: bool = False,
    ) -> None:
        self.is_checked = is_checked
        self.media_type = media_type
        self.name = name
        self.content = content
        self._find_sha256 = sha256
        self._sha256: str | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, source: object) -> InputImage:
        """Make one of anything that is a picture. It is copied, except for a file, which is read when it is needed.

        Args:
            source: A ``pathlib.Path``; the bytes of a file; a Pillow image; or an array or tensor ``[H, W]``,
                ``[H, W, C]`` or ``[1, H, W, C]`` with 1, 3 or 4 channels, as uint8 or as floats of 0..1.

        Returns:
            The image; pixels are sent as PNG.

        Raises:
            InvalidParameterError: It is none of these. A text is an address, not a path.
        """
        if isinstance(source, InputImage):
            return source
        if isinstance(source, os.PathLike):
            return cls.from_file(source, mimetypes.guess_type(Path(source).name)[0] or "image/png")
        if isinstance(source, bytes | bytearray | memoryview):
            content = bytes(source)
            return cls.from_bytes(content, next((kind for start, kind in _STARTS if content.startswith(start)), _PNG))
        picture = picture_of(source)

        def encoded() -> bytes:
            file = io.BytesIO()
            picture.save(file, "PNG", compress_level=1, icc_profile=None)
            return file.getvalue()

        def sha256() -> str:
            return hashlib.sha256(f"{picture.mode} {picture.size}\n".encode() + picture.tobytes()).hexdigest()

        return cls(encoded, sha256, _PNG, is_checked=True)

    @classmethod
    def from_bytes(cls, content: bytes, media_type: str = "image/png", name: str = "the image") -> InputImage:
        """Make one of encoded bytes.

        Args:
            content: The bytes of the file.
            media_type: Their type.
            name: What messages call the image.

        Returns:
            The image.
        """
        return cls(lambda: content, lambda: hashlib.sha256(content).hexdigest(), media_type, name)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], media_type: str) -> InputImage:
        """Make one of a file, which is read when it is needed.

        Args:
            path: The file. What its bytes are is not checked.
            media_type: Their type.

        Returns:
            The image. Its use raises InvalidParameterError when the file cannot be read, or changes meanwhile.
        """
        path = Path(path)

        def read() -> bytes:
            try:
                return path.read_bytes()
            except OSError as error:
                raise InvalidParameterError("image", path.name, f"a file that can be read ({error.strerror})") from None

        def content() -> bytes:
            encoded = read()
            # It would be stored under the name of other bytes, and given to every later task with those.
            if hashlib.sha256(encoded).hexdigest() != image.sha256():
                raise InvalidParameterError("image", path.name, "a file that does not change while it is read")
            return encoded

        image = cls(content, lambda: hashlib.sha256(read()).hexdigest(), media_type, path.name)
        return image

    def __repr__(self) -> str:
        return f"<InputImage {self.name}>"

    @property
    def subject(self) -> str:
        """The name at the start of a sentence. File names stay as they are."""
        return self.name[:1].upper() + self.name[1:] if self.name.startswith(("the ", "image ")) else self.name

    def sha256(self) -> str:
        """The hash of the content, in hex. Blocks while it is computed for the first time.

        Raises InvalidParameterError when the function given for it returns anything else.
        """
        with self._lock:
            if self._sha256 is None:
                digest = self._find_sha256()
                if not re.fullmatch("[0-9a-f]{64}", digest):
                    raise InvalidParameterError("sha256", digest, "64 hex digits in lower case")
                self._sha256 = digest
            return self._sha256


def images_in(details: Any) -> list[InputImage]:
    """The images in a task's details that need an address, in order.

    Raises InvalidParameterError for details that are nested too deeply to be sent.
    """
    images: list[InputImage] = []

    def address(image: InputImage) -> str:
        images.append(image)
        return ""

    try:
        with_addresses(details, address)
    except RecursionError:
        raise InvalidParameterError("task_details", details, "JSON values with texts as names") from None
    return images


def with_addresses(details: Any, address: Callable[[InputImage], str]) -> Any:
    """A copy of a task's details with an address in place of each image."""
    if isinstance(details, InputImage):
        return address(details)
    if isinstance(details, str):
        image = _decoded(details)
        return details if image is None else address(image)
    if isinstance(details, Mapping):
        return {name: with_addresses(value, address) for name, value in details.items()}
    if isinstance(details, list | tuple):
        return [with_addresses(value, address) for value in details]
    return details


def display_details(details: Any) -> Any:
    """A copy of a task's details to show: without the bodies of ``data:`` URIs and the signatures of links."""
    if isinstance(details, str):
        if is_data_uri(details):
            return f"{details[:32].partition(',')[0]} ({len(details):,} characters)"
        return without_signatures(details)
    if isinstance(details, dict):
        return {name: display_details(value) for name, value in details.items()}
    return [display_details(value) for value in details] if isinstance(details, list) else details


def stored_hashes(parameters: Any) -> Iterator[tuple[str, str]]:
    """The hash and media type of each image in parameters as the ledger keeps them."""
    if isinstance(parameters, Mapping):
        sha256, media_type = parameters.get("sha256"), parameters.get("media_type")
        if isinstance(sha256, str) and isinstance(media_type, str):
            yield sha256, media_type
            return
        for value in parameters.values():
            yield from stored_hashes(value)
    elif isinstance(parameters, list):
        for value in parameters:
            yield from stored_hashes(value)


def _decoded(text: str) -> InputImage | None:
    """The image in a ``data:`` URI, or None: a prompt may begin with "data:", too."""
    if not is_data_uri(text) or not text[5:11].lower().startswith("image/"):
        return None
    try:
        media_type, content = decode_data_uri(text)
    except ValueError:
        return None
    return InputImage.from_bytes(content, media_type)
