"""What a video file holds."""

from __future__ import annotations

from pathlib import Path

import av


def frames_of(file: Path) -> tuple[int, tuple[int, int], float]:
    """Frame count, width and height, and frames per second of a video."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        count = sum(1 for _ in container.decode(stream))
        return count, (stream.width, stream.height), float(stream.average_rate)
