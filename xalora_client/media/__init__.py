"""Media: what miners return, from bytes on disk to arrays."""

from __future__ import annotations

from .audio import Sound, decode_sound
from .info import Decoded, MediaInfo
from .inspect import decode, inspect
from .limits import Limits
from .memory import FreeMemory, free_memory, require_memory
from .sniff import FORMATS, SNIFF_BYTES, Format, describe, sniff

__all__ = [
    "FORMATS",
    "SNIFF_BYTES",
    "Decoded",
    "Format",
    "FreeMemory",
    "Limits",
    "MediaInfo",
    "Sound",
    "decode",
    "decode_sound",
    "describe",
    "free_memory",
    "inspect",
    "require_memory",
    "sniff",
]
