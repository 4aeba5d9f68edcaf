"""What a media file is: its format, detected from its first bytes, and ``MediaInfo``, what ``inspect`` finds out.

The file's name and the server's content type do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...status_parts import StatusPart

SNIFF_BYTES = 4096
"""How many of a file's first bytes ``sniff`` needs for any format; fewer are enough for most."""

Kind = Literal["image", "animation", "video"]


@dataclass(frozen=True)
class Format:
    """A file format.

    * ``name``: "mp4", "mov", "webm", "mkv", "gif", "webp", "apng", "png", "jpeg", "avif", "bmp" or "tiff"; or "exr",
      "heic" or "jxl", whose pictures are not decoded.
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
BMP = Format("bmp", "image", ".bmp", "image/bmp")
TIFF = Format("tiff", "image", ".tiff", "image/tiff")
EXR = Format("exr", "image", ".exr", "image/x-exr")
HEIC = Format("heic", "image", ".heic", "image/heic")
JXL = Format("jxl", "image", ".jxl", "image/jxl")

FORMATS = (MP4, MOV, WEBM, MKV, GIF, WEBP, APNG, PNG, JPEG, AVIF, BMP, TIFF, EXR, HEIC, JXL)
"""Every format that is known. The last three are kept as files, and not decoded."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EBML_SIGNATURE = b"\x1a\x45\xdf\xa3"
_OTHER_PICTURES = {
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,
    b"MM\0+": TIFF,
    b"v/1\1": EXR,
    b"\xff\x0a": JXL,
    b"\0\0\0\x0cJXL ": JXL,
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_QUICKTIME_ATOMS = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}


def sniff(head: bytes) -> Format | None:
    """Return the format of a file that begins with ``head``, or None when it is none that is known.

    ``head`` is the file's first ``SNIFF_BYTES`` bytes, or all of a shorter file. An APNG that announces its animation
    only after more than that is taken for a PNG; ``inspect``, which opens the file, corrects it.
    """
    if head.startswith(PNG_SIGNATURE):
        return APNG if _announces_animation(head) else PNG
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return GIF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith(_EBML_SIGNATURE):
        return _sniff_ebml(head)
    for signature, picture in _OTHER_PICTURES.items():
        if head.startswith(signature):
            return picture
    # Two letters are too few to tell a BMP from a text: what must be zero has to be, too.
    if head[:2] == b"BM" and head[6:10] == bytes(4) and len(head) >= 26:
        return BMP
    return _sniff_iso(head)


def _announces_animation(head: bytes) -> bool:
    """Whether a PNG's ``acTL`` chunk comes before its picture, as far as ``head`` shows."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(head):
        name = head[at + 4 : at + 8]
        if name in (b"acTL", b"IDAT"):
            return name == b"acTL"
        at += 12 + int.from_bytes(head[at : at + 4], "big")
    return False


def _sniff_ebml(head: bytes) -> Format | None:
    """Distinguish WebM from Matroska by the DocType, an element of the EBML header."""
    at = head.find(b"\x42\x82", 0, 256)
    doc_type = head[at + 2 : at + 18] if at >= 0 else b""
    if b"webm" in doc_type:
        return WEBM
    return MKV if b"matroska" in doc_type else None


def _sniff_iso(head: bytes) -> Format | None:
    """Distinguish the members of the ISO base media family (and plain QuickTime files) by their brands."""
    box = head[4:8]
    if box != b"ftyp":
        return MOV if box in _QUICKTIME_ATOMS and len(head) >= 8 else None
    size = int.from_bytes(head[:4], "big")
    major = head[8:12]
    brands = {major} | {head[at : at + 4] for at in range(16, min(size, len(head) - 3), 4)}
    if major in (b"avif", b"avis") or (major in (b"mif1", b"msf1", b"miaf") and brands & {b"avif", b"avis"}):
        return AVIF
    if major in _HEIF_BRANDS:
        return HEIC
    if major == b"qt  ":
        return MOV
    return MP4 if len(head) >= 12 else None


def describe(head: bytes) -> str:
    """Say in a few words what bytes that are none of the formats look like, for an error message."""
    if not head:
        return "the file is empty"
    if not head.strip(b"\0"):
        return "its first bytes are all zero"
    for signature, name in _OTHERS.items():
        if head.startswith(signature):
            return f"it looks like {name}"
    if head[4:8] == b"ftyp":
        return "its first box is cut off"
    text = _as_text(head)
    if text is None:
        return f"it starts with the bytes {head[:16].hex(' ')}"
    kind = "text"
    if any(tag in text.lower() for tag in ("<!doctype html", "<html", "<head", "<body")):
        kind = "a web page"
    elif text.startswith(("{", "[")):
        kind = "JSON"
    elif text.startswith("<"):
        kind = "XML"
    quoted = " ".join(text.split())
    return f"it looks like {kind}: “{quoted[:80]}{'…' if len(quoted) > 80 else ''}”"


_OTHERS = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "gzip data",
    b"%PDF": "a PDF",
    b"OggS": "Ogg, which is not read",
    b"FLV\x01": "Flash video, which is not read",
    b"RIFF": "AVI or WAV, which is not read",
    b"ID3": "MP3 sound",
    _EBML_SIGNATURE: "a Matroska-like file of an unknown kind",
}


def _as_text(head: bytes) -> str | None:
    """Return the beginning of ``head`` as text, or None when it is not text."""
    part = head[:512].removeprefix(b"\xef\xbb\xbf")
    for cut in range(4):  # the last character may be cut in two
        try:
            text = part[: len(part) - cut].decode()
        except UnicodeDecodeError:
            continue
        printable = all(char.isprintable() or char.isspace() for char in text)
        return text.strip() or None if printable else None
    return None


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """A media file as its headers and its first frame show it.

    * ``path``, ``size``: the file and its bytes.
    * ``format``: the format of its content.
    * ``kind``: "image" one picture without sound, "animation" a sequence of pictures in an image format, "video".
    * ``width``, ``height``: pixels as displayed, after rotation; 0 of a format that is not decoded.
    * ``frames``: how many a decoder is expected to return, or None when only decoding shows it.
    * ``fps``: frames per second over the whole duration (so also right where frames last unequally long), or None for
      an image.
    * ``duration``: seconds from the first frame's beginning to the last one's end; 0.0 for an image.
    * ``has_audio``: a video with sound.
    * ``has_alpha``: the first frame has transparency: an alpha channel or a transparent color; of an animation, a pixel
      that is transparent.
    * ``codec``: the picture's codec as FFmpeg names it ("h264"), or the format's name for images and animations.
    * ``remuxable``: ComfyUI can save the file as it is, packet by packet, without encoding again. Where it is False, a
      VIDEO must be built from frames and rate.
    """

    path: Path
    size: int
    format: Format
    kind: Kind
    width: int
    height: int
    frames: int | None
    fps: float | None
    duration: float
    has_audio: bool
    has_alpha: bool
    codec: str
    remuxable: bool

    def describe(self, task_details: object = None, *, frames: int | None = None) -> str:
        """Describe the media in a few words, and where it differs from what the task asked for.

        Args:
            task_details: What the task sent, as in ``WorkflowTask.task_details`` and
                ``WorkflowTaskResult.task_details``.
            frames: How many frames decoding gave, where that is known.

        Returns:
            For example "848×480 · 73 frames, asked for 37".
        """
        return StatusPart.line(self.parts(task_details, frames=frames))

    def parts(self, task_details: object = None, *, frames: int | None = None) -> list[StatusPart]:
        """What ``describe`` says, for other languages: as codes and values.

        Args:
            task_details: As for ``describe``.
            frames: As for ``describe``.

        Returns:
            The parts, in their order.
        """
        asked = asked_for(task_details)
        if not self.width:
            return [StatusPart("file", kind=self.format.extension[1:].upper())]
        size = asked.get("width", self.width), asked.get("height", self.height)
        # A named aspect ratio decides in place of width and height.
        differs = size != (self.width, self.height) and asked.get("aspect_ratio", "custom") == "custom"
        code = "size_asked" if differs else "size"
        parts = [StatusPart(code, width=self.width, height=self.height, asked=f"{size[0]}×{size[1]}")]
        count, length = frames or self.frames, asked.get("length")
        if count is not None and (self.kind != "image" or length is not None):
            code = ("frame" if count == 1 else "frames") + ("" if length in (None, count) else "_asked")
            parts.append(StatusPart(code, count=count, asked=length))
        rate = asked.get("fps")
        if self.fps is not None and rate is not None and abs(self.fps - rate) > RATE_TOLERANCE * rate:
            parts.append(StatusPart("rate_asked", rate=f"{self.fps:.4g}", asked=rate))
        return parts


RATE_TOLERANCE = 0.02
"""The share by which a rate may differ without a remark: files hold frame times in whole milliseconds or ticks."""


def asked_size(task_details: object) -> tuple[int, int, int]:
    """How many frames a task asks for, and of which width and height; 1 and 0 where it does not say.

    Args:
        task_details: What the task sends, as in ``WorkflowTask.task_details``.
    """
    asked = asked_for(task_details)
    return asked.get("length", asked.get("batch_size", 1)), asked.get("width", 0), asked.get("height", 0)


def asked_for(task_details: object) -> dict[str, Any]:
    """The parameters of a task that determine what its media should be.

    Args:
        task_details: What the task sends, as in ``WorkflowTask.task_details``.

    Returns:
        "width", "height", "length", "batch_size" and "fps" as whole numbers, and "aspect_ratio", as far as they are
        there.
    """
    parameters = task_details.get("parameters") if isinstance(task_details, Mapping) else None
    if not isinstance(parameters, Mapping):
        return {}
    valid = {
        name: parameters[name]
        for name in ("width", "height", "length", "batch_size", "fps")
        if type(parameters.get(name)) is int and 0 < parameters[name] < 10**6
    }
    ratio = parameters.get("aspect_ratio")
    return valid | ({"aspect_ratio": ratio} if isinstance(ratio, str) else {})
