"""The border to the libraries that decode: what they raise says that the file is damaged; what we raise does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from ...errors import MediaError, MediaTooLargeError
from .media_info import fail, reason


@contextmanager
def library_errors(path: Path, what: str) -> Iterator[None]:
    """Turn what Pillow or PyAV raises for a file into the error for that file; ``what`` says what was being read.

    Damaged files make the libraries raise nearly anything, an AssertionError or a TypeError of their own included. So
    everything counts, and only their calls may stand within: a mistake of our own has to come out as what it is.

    Raises DecodeError. MediaTooLargeError where the library could not allocate what the file asks for (our own arrays
    are allocated elsewhere), or where the picture passes Pillow's own limit.
    """
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaTooLargeError(
            f"{path.name} is refused by Pillow: {reason(error)}",
            advice="Raise PIL.Image.MAX_IMAGE_PIXELS if the file is trusted.",
        ) from error
    except MemoryError as error:
        raise MediaTooLargeError(
            f"{path.name} cannot be decoded: {what}, and the decoder got no memory for it ({reason(error)})",
            advice="Close other programs, or ask for smaller frames. A damaged file may ask for too much.",
        ) from error
    except Exception as error:  # noqa: BLE001 - see above
        fail(path, f"{what} ({reason(error)})", cause=error)
