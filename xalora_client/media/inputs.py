"""Pictures as inputs of tasks: decoded before the create, because a miner finds out only when the task is paid for."""

from __future__ import annotations

import io
import logging
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import InvalidParameterError, MediaError
from ..protocol.inputs import InputImage
from ..protocol.pixels import plain
from .decoding.container_parts import missing_end_in
from .decoding.formats import APNG, GIF, JPEG, PNG, SNIFF_BYTES, WEBP, describe, sniff
from .decoding.limits import Limits
from .decoding.png_file import plain_still, read_parts

logger = logging.getLogger("xalora_client")

_SENT = {"PNG": PNG, "JPEG": JPEG, "MPO": JPEG, "WEBP": WEBP, "GIF": GIF}
"""The formats that every miner reads, by Pillow's names. Others are sent as PNG."""

_PIXELS_OF_JPEG, _END_OF_JPEG = b"\xff\xda", b"\xff\xd9"


def input_file(path: Path) -> InputImage:
    """An input of a picture's file, of which only the header is read now.

    Raises InvalidParameterError when it cannot be read, or is none that Pillow reads; it names the format then.
    """
    try:
        with path.open("rb") as file:
            head = file.read(SNIFF_BYTES)
        kind = sniff(head)
        if kind not in (*_SENT.values(), APNG):
            with Image.open(path):
                pass
    except UnidentifiedImageError:
        raise InvalidParameterError("image", path.name, _wanted(head)) from None
    except OSError as error:
        raise InvalidParameterError("image", str(path), f"a file that can be read ({error.strerror})") from None
    return InputImage.from_file(path, kind.mime_type if kind in _SENT.values() and kind else PNG.mime_type)


def sendable(content: bytes, name: str, *, single: bool) -> bytes:
    """A picture's file as miners read it: the same bytes, or a PNG of what is in another format or has odd metadata.

    Blocks while it decodes the picture. ``name`` is what messages call it. With ``single``, it must not be an
    animation, because only one result comes back.

    Raises InvalidParameterError for what is damaged, cut off, or cannot be read at all.
    """
    head = content[:SNIFF_BYTES]
    try:
        try:
            return _read(content, name, single)
        except InvalidParameterError:
            raise
        except Exception:
            if sniff(head) not in (PNG, APNG):
                raise
            # Pillow, and so ComfyUI, refuses it for what lies beside its pixels; or its pixels are damaged.
            file = io.BytesIO(content)
            plain = _read(plain_still(file, read_parts(Path(name), file, Limits())), name, single)
            logger.warning("%s is sent without its metadata, which ComfyUI cannot read", name)
            return plain
    except (Image.DecompressionBombError, MemoryError):  # The sequencer decides what is too large.
        return content
    except InvalidParameterError:
        raise
    except UnidentifiedImageError:
        raise InvalidParameterError("image", name, _wanted(head)) from None
    except Exception as error:  # noqa: BLE001 - damaged files make Pillow raise nearly anything
        reason = str(error.what if isinstance(error, MediaError) else error)[:200]
        raise InvalidParameterError(
            "image", name, f"a whole picture; this one is damaged or cut off ({reason})"
        ) from None


def _read(content: bytes, name: str, single: bool) -> bytes:
    with Image.open(io.BytesIO(content)) as picture:
        frames, is_sent, reason = getattr(picture, "n_frames", 1), picture.format in _SENT, f"is {picture.format}"
        if sniff(content[:SNIFF_BYTES]) == APNG and frames > 1:
            with io.BytesIO(content) as file:
                frames = len(read_parts(Path(name), file, Limits()).frames)
            if frames < 2:
                is_sent, reason = False, "announces more pictures than it has"
        if frames > 1 and picture.format != "MPO" and (single or not is_sent):
            raise InvalidParameterError(
                "image", f"{name}, an animation of {frames} pictures", "one picture; send each of them by itself"
            )
        picture.load()
        # Another pack may have told Pillow to let through what is cut off.
        kind = sniff(content[:SNIFF_BYTES])
        missing = kind and missing_end_in(io.BytesIO(content), kind)
        if kind == JPEG and content.rfind(_END_OF_JPEG) < content.rfind(_PIXELS_OF_JPEG):
            missing = "its end is missing"
        if missing:
            raise InvalidParameterError("image", name, f"a whole picture; {missing}")
        try:
            picture = ImageOps.exif_transpose(picture)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, ComfyUI would fail
            is_sent, reason = False, "has EXIF data that ComfyUI cannot read"
        if is_sent:
            return content
        logger.warning("%s %s, and is sent as PNG", name, reason)
        return _as_png(picture, name)


def _as_png(picture: Image.Image, name: str) -> bytes:
    with io.BytesIO() as file:
        plain(picture, name).save(file, "PNG", icc_profile=None)
        return file.getvalue()


def _wanted(head: bytes) -> str:
    kind = sniff(head)
    found = describe(head) if kind is None else f"it is {kind.name.upper()}"
    return f"an image file that Pillow reads, such as PNG, JPEG, WebP or TIFF; {found}"
