"""How far a running task is, as the sequencer reports it, and its announcement that queries may wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import one_line
from .parameters import decode_data_uri, is_data_uri

LARGEST_PREVIEW = 1024 * 1024
"""The most bytes of a preview. A larger one is ignored."""

_LONGEST_URI = LARGEST_PREVIEW * 4 // 3 + 100
_LONGEST_TITLE = 60
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""How a JPEG and a PNG begin."""


@dataclass(frozen=True)
class TaskProgress:
    """How far a running task is.

    Attributes:
        value: The part that is done, 0 to ``maximum``: steps of the miner's node, or seconds for an estimate.
        maximum: The whole, above 0.
        title: What the miner works on, such as "KSampler". Empty when it is not known.
        preview: A new preview picture, as the bytes of a JPEG or PNG file. None when there is no newer one.
        estimated: True when the server reports no progress, and this is what earlier tasks of the kind suggest.
    """

    value: float
    maximum: float
    title: str = ""
    preview: bytes | None = field(default=None, repr=False)
    estimated: bool = False

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1."""
        return self.value / self.maximum


def read_progress(answer: object) -> TaskProgress | None:
    """The progress in an answer. None where there is none, or where it makes no sense: it is only shown."""
    if not isinstance(answer, Mapping):
        return None
    value, maximum = _amount(answer.get("value")), _amount(answer.get("maximum"))
    if value is None or not maximum:
        return None
    title = answer.get("title")
    return TaskProgress(
        value=min(value, maximum),
        maximum=maximum,
        title=one_line(title, _LONGEST_TITLE) if isinstance(title, str) else "",
        preview=_picture(answer.get("preview")),
    )


def read_long_poll(answer: Mapping[str, object]) -> tuple[int, float] | None:
    """The task's revision and the seconds that a query may wait, where the server announces that it may."""
    revision, seconds = answer.get("revision"), _amount(answer.get("long_poll_seconds"))
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 0 or not seconds:
        return None
    return revision, seconds


def _amount(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _picture(uri: Any) -> bytes | None:
    if not isinstance(uri, str) or len(uri) > _LONGEST_URI or not is_data_uri(uri):
        return None
    try:
        _, content = decode_data_uri(uri)
    except ValueError:
        return None
    return content if len(content) <= LARGEST_PREVIEW and content.startswith(_PICTURES) else None
