"""One measurement in a fresh process: how long something takes, and how much memory at most.

Run as a script, by whichever Python has what is measured: ``python probe.py KIND VIDEO [COMFYUI_FOLDER]``. Prints one
JSON object. Only the standard library is imported before the clock starts; what the measured code needs is imported
and warmed up before, as it would be in a running program.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def ours(video: str) -> Callable[[], Any]:
    """This package: one array, filled in place."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from xalora_client.media.decoding import decode

    return lambda: decode(video).frames


def comfyui(video: str) -> Callable[[], Any]:
    """A ComfyUI's own decoder; its folder is the third argument."""
    sys.path.insert(0, sys.argv[3])
    sys.argv[1:] = ["--cpu"]
    from comfy_api.latest._input_impl.video_types import VideoFromFile

    return lambda: VideoFromFile(video).get_components().images


def rgb(video: str) -> Callable[[], Any]:
    """The floor, first part: PyAV decodes every frame to 8-bit RGB with all threads and keeps none."""
    import av

    def run() -> None:
        with av.open(video) as container:
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                frame.to_ndarray(format="rgb24")

    return run


def fill(video: str) -> Callable[[], Any]:
    """The floor, second part: an array of the result's size is made and touched for the first time."""
    import av
    import numpy as np

    with av.open(video) as container:
        stream = container.streams.video[0]
        shape = (stream.frames, stream.height, stream.width, 3)

    def run() -> Any:
        array = np.empty(shape, np.float32)
        array.fill(0.5)
        return array

    return run


KINDS = {"ours": ours, "comfyui": comfyui, "rgb": rgb, "fill": fill}


def forget_peak() -> int:
    """Make the system forget the peak so far, where it can, and return the bytes held now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return status("VmRSS")
    except OSError:
        return highest()


def highest() -> int:
    """The most bytes this process has held."""
    try:
        return status("VmHWM")
    except OSError:
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def status(name: str) -> int:
    """A number of bytes from Linux's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(name)


def main() -> None:
    """Measure what the arguments say."""
    run = KINDS[sys.argv[1]](sys.argv[2])
    before = forget_peak()
    began, worked = time.perf_counter(), time.process_time()
    result = run()
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    shape = [] if result is None else list(result.shape)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": highest() - before, "shape": shape}))


if __name__ == "__main__":
    main()
