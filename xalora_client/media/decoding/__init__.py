"""Media: what miners return, from bytes on disk to arrays."""

from __future__ import annotations

from .formats import FORMATS, SNIFF_BYTES, Format, Kind, describe, sniff
from .inspection import decode, inspect
from .limits import FreeMemory, Limits, free_memory, require_memory
from .media_info import Array, Decoded, MediaInfo, Progress
from .thumbnails import thumbnail
from .video_sound import Sound, decode_sound

__all__ = [
    "FORMATS",
    "SNIFF_BYTES",
    "Array",
    "Decoded",
    "Format",
    "FreeMemory",
    "Kind",
    "Limits",
    "MediaInfo",
    "Progress",
    "Sound",
    "decode",
    "decode_sound",
    "describe",
    "free_memory",
    "inspect",
    "require_memory",
    "sniff",
    "thumbnail",
]
