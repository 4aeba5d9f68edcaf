"""Whether ComfyUI can save a video file as it is."""

from __future__ import annotations

import os

import av
from av.container import InputContainer


def can_remux(container: InputContainer) -> bool:
    """Return whether the container's streams can be written into an MP4 without encoding again.

    ComfyUI's “Save Video” copies the packets of a ``VideoFromFile`` into an MP4 with FFmpeg, whatever the source's
    container is. What MP4 cannot hold (VP8, PCM in an older FFmpeg, most subtitles) makes it fail there, after the work
    is done. So the same streams are offered to FFmpeg's MP4 writer here; only a header is made, and thrown away.
    """
    streams = [each for each in container.streams if each.type in ("video", "audio", "subtitle")]
    if any(each.codec_context is None for each in streams):
        return False
    try:
        with av.open(os.devnull, "w", format="mp4") as output:
            for stream in streams:
                output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - whatever the writer has against it, ComfyUI would meet the same
        return False
    return True
