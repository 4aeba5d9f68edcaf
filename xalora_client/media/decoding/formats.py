"""What a file is, told from its first bytes alone: never from its name or a server's word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SNIFF_BYTES = 4096
"""As many first bytes as ``sniff`` needs for any format; fewer are enough for most."""

Kind = Literal["image", "animation", "video"]


@dataclass(frozen=True)
class Format:
    """A file format.

    * ``name``: "mp4", "mov", "webm", "mkv", "gif", "webp", "apng", "png", "jpeg" or "avif".
    * ``kind``: the most a file of it can hold: "image" one picture, "animation" also several, "video" also sound.
    * ``extension``: what a file name ends with, dot included.
    * ``mime_type``: as HTTP and browsers name it.
    """

    name: str
    kind: Kind
    extension: str
    mime_type: str


MP4 = Format("mp4", "video", ".mp4", "video/mp4")
MOV = Format("mov", "video", ".mov", "video/quicktime")
WEBM = Format("webm", "video", ".webm", "video/webm")
MKV = Format("mkv", "video", ".mkv", "video/x-matroska")
GIF = Format("gif", "animation", ".gif", "image/gif")
WEBP = Format("webp", "animation", ".webp", "image/webp")
APNG = Format("apng", "animation", ".png", "image/apng")
PNG = Format("png", "image", ".png", "image/png")
JPEG = Format("jpeg", "image", ".jpg", "image/jpeg")
AVIF = Format("avif", "animation", ".avif", "image/avif")

FORMATS = (MP4, MOV, WEBM, MKV, GIF, WEBP, APNG, PNG, JPEG, AVIF)
"""Every format that can be read."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EBML_SIGNATURE = b"\x1a\x45\xdf\xa3"
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_QUICKTIME_ATOMS = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def sniff(head: bytes) -> Format | None:
    """Return the format of a file that begins with ``head``, or None when it is none that can be read.

    ``head`` is the file's first ``SNIFF_BYTES`` bytes, or all of a shorter file. An APNG whose animation is announced
    behind more than that is taken for a PNG; ``inspect``, which opens the file, corrects it.
    """
    if head.startswith(_PNG_SIGNATURE):
        return APNG if _announces_animation(head) else PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return GIF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith(_EBML_SIGNATURE):
        return _sniff_ebml(head)
    return _sniff_iso(head)


def _announces_animation(head: bytes) -> bool:
    """Whether a PNG's ``acTL`` chunk comes before its picture, as far as ``head`` shows."""
    at = len(_PNG_SIGNATURE)
    while at + 8 <= len(head):
        name = head[at + 4 : at + 8]
        if name in (b"acTL", b"IDAT"):
            return name == b"acTL"
        at += 12 + int.from_bytes(head[at : at + 4], "big")
    return False


def _sniff_ebml(head: bytes) -> Format | None:
    """Tell WebM from Matroska by the DocType, an element of the EBML header."""
    if b"\x42\x82" not in head[:256]:
        return None
    doc_type = head[head.index(b"\x42\x82") + 2 :][:16]
    if b"webm" in doc_type:
        return WEBM
    return MKV if b"matroska" in doc_type else None


def _sniff_iso(head: bytes) -> Format | None:
    """Tell the members of the ISO base media family (and plain QuickTime files) apart by their brands."""
    box = head[4:8]
    if box != b"ftyp":
        return MOV if box in _QUICKTIME_ATOMS and len(head) >= 8 else None
    size = int.from_bytes(head[:4], "big")
    major = head[8:12]
    brands = {major} | {head[at : at + 4] for at in range(16, min(size, len(head) - 3), 4)}
    if major in (b"avif", b"avis") or (major in (b"mif1", b"msf1", b"miaf") and brands & {b"avif", b"avis"}):
        return AVIF
    if major in _HEIF_BRANDS:
        return None
    if major == b"qt  ":
        return MOV
    return MP4 if len(head) >= 12 else None


def describe(head: bytes) -> str:
    """Say in a few words what bytes that are none of the formats look like, for an error message."""
    if not head:
        return "the file is empty"
    if not head.strip(b"\0"):
        return "its first bytes are all zero"
    for signature, name in _OTHERS:
        if head.startswith(signature):
            return f"it looks like {name}"
    if head[4:8] == b"ftyp":
        return "it looks like HEIC, which is not read" if head[8:12] in _HEIF_BRANDS else "its first box is cut off"
    text = _as_text(head)
    if text is None:
        return f"it starts with the bytes {head[:16].hex(' ')}"
    lowered = text.lower()
    kind = "text"
    if any(mark in lowered for mark in ("<!doctype html", "<html", "<head", "<body")):
        kind = "a web page"
    elif text.startswith(("{", "[")):
        kind = "JSON"
    elif text.startswith("<"):
        kind = "XML"
    quoted = " ".join(text.split())
    return f"it looks like {kind}: “{quoted[:80]}{'…' if len(quoted) > 80 else ''}”"


_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"%PDF", "a PDF"),
    (b"OggS", "Ogg, which is not read"),
    (b"FLV\x01", "Flash video, which is not read"),
    (b"RIFF", "AVI or WAV, which is not read"),
    (b"ID3", "MP3 sound"),
    (b"BM", "a BMP picture, which is not read"),
    (b"II*\0", "a TIFF picture, which is not read"),
    (b"MM\0*", "a TIFF picture, which is not read"),
    (b"\0\0\0\x0cJXL ", "JPEG XL, which is not read"),
    (_EBML_SIGNATURE, "a Matroska-like file of an unknown kind"),
)


def _as_text(head: bytes) -> str | None:
    """Return the beginning of ``head`` as text, or None when it is not text."""
    part = head[:512].removeprefix(b"\xef\xbb\xbf")
    for cut in range(4):  # the last character may be cut in two
        try:
            text = part[: len(part) - cut].decode()
        except UnicodeDecodeError:
            continue
        printable = sum(char.isprintable() or char.isspace() for char in text)
        return text.strip() if text.strip() and printable == len(text) else None
    return None
