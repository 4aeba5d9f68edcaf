"""Decode time and peak memory of a video, side by side with ComfyUI's own decoders and with the floor.

Run from the repository's root: ``python -m benchmarks.decode``. Every measurement is a fresh process; contestants take
turns, so that a slow minute of the machine slows all alike, and each is compared with ours of the same turn. Prints
tables of ratios and writes ``decode.json`` and ``decode.svg`` into ``--out``.

ComfyUI installations are looked for in ``$COMFYUI_PATH`` (several, separated as in ``$PATH``), else in
``~/comfy/ComfyUI*``; each is run with the Python of its own ``.venv`` where it has one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .chart import bars
from .clip import make_clip

PROBE = Path(__file__).with_name("probe.py")
OURS, RGB, FILL = "xalora_client", "PyAV to RGB, kept nowhere", "first touch of the array"


@dataclass(frozen=True)
class Contestant:
    """Something to measure: its name and the command, which the video's path is put into."""

    name: str
    python: str
    kind: str
    folder: str = ""

    def measure(self, video: Path) -> dict[str, Any]:
        """Run once in a fresh process: seconds, CPU seconds of all threads, peak bytes over the start, shape."""
        command = [self.python, str(PROBE), self.kind, str(video), *([self.folder] if self.folder else [])]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder or None)
        if done.returncode:
            raise SystemExit(f"{self.name} failed:\n{done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def comfyui_installations() -> list[Contestant]:
    """Every ComfyUI that is found."""
    given = os.environ.get("COMFYUI_PATH", "")
    folders = [Path(each).expanduser() for each in given.split(os.pathsep) if each]
    found = []
    for folder in folders or sorted(Path.home().glob("comfy/ComfyUI*")):
        version = folder / "comfyui_version.py"
        if not version.exists():
            print(f"{folder} is no ComfyUI, left out")
            continue
        name = f"ComfyUI {version.read_text().split('__version__')[1].split(chr(34))[1]}"
        own = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        found.append(Contestant(name, str(own) if own.exists() else sys.executable, "comfyui", str(folder)))
    return found


def run(video: Path, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Measure all contestants in turn; each round begins with another, so that none always follows the same one.

    What ran before matters: a virtual machine may have to ask for memory anew that a large process has just returned.
    """
    contestants = [Contestant(OURS, sys.executable, "ours")]
    contestants += comfyui_installations()
    contestants += [Contestant(RGB, sys.executable, "rgb"), Contestant(FILL, sys.executable, "fill")]
    found: dict[str, list[dict[str, Any]]] = {each.name: [] for each in contestants}
    for number in range(rounds):
        begin = number % len(contestants)
        for each in contestants[begin:] + contestants[:begin]:
            found[each.name].append(each.measure(video))
            last = found[each.name][-1]
            print(f"  round {number + 1}: {each.name:28} {last['seconds']:7.2f} s  {last['peak'] / 2**20:8.0f} MiB")
    return found


def summarize(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians, and medians of the ratios within each round."""
    shape = found[OURS][0]["shape"]
    tensor = 4 * shape[0] * shape[1] * shape[2] * shape[3]
    rows = {}
    for name, measured in found.items():
        pairs = zip(found[OURS], measured, strict=True)
        rows[name] = {
            "seconds": statistics.median(each["seconds"] for each in measured),
            "cpu_seconds": statistics.median(each["cpu"] for each in measured),
            "peak_over_tensor": statistics.median(each["peak"] for each in measured) / tensor,
            "ours_over_this": statistics.median(mine["seconds"] / other["seconds"] for mine, other in pairs),
        }
    floors = zip(found[OURS], found[RGB], found[FILL], strict=True)
    floor = statistics.median(
        mine["seconds"] / (first["seconds"] + second["seconds"]) for mine, first, second in floors
    )
    peak = statistics.median(each["peak"] for each in found[OURS])
    return {
        "shape": shape,
        "tensor_bytes": tensor,
        "rows": rows,
        "ours_over_floor": floor,
        "peak_over_allowance": peak / (1.06 * tensor + 64 * 2**20),
    }


def report(summary: dict[str, Any]) -> str:
    """The tables as text."""
    frames, height, width, _ = summary["shape"]
    lines = [
        f"{frames} frames of {width} x {height}, a tensor of {summary['tensor_bytes'] / 2**30:.2f} GiB",
        f"{'':28} {'seconds':>8} {'CPU':>8} {'our time to it':>15} {'peak to tensor':>15}",
    ]
    for name, row in summary["rows"].items():
        times = f"{row['seconds']:8.2f} {row['cpu_seconds']:8.2f} {row['ours_over_this']:15.2f}"
        lines.append(f"{name:28} {times} {row['peak_over_tensor']:15.2f}")
    lines.append(f"our time to the floor (decode to RGB, then touch the array): {summary['ours_over_floor']:.2f}")
    lines.append(f"our peak to 1.06 tensors + 64 MiB: {summary['peak_over_allowance']:.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", type=Path, help="a video; by default one is made, 1920 x 1080, H.264")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=121, help="frames of the video made (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or make_clip(Path(folder) / "clip.mp4", options.frames)
        found = run(video.resolve(), options.rounds)
    summary = summarize(found)
    print(report(summary))
    options.out.mkdir(parents=True, exist_ok=True)
    machine = {"system": platform.system(), "cores": os.cpu_count(), "python": platform.python_version()}
    text = json.dumps({"machine": machine, **summary, "measurements": found}, indent=1)
    (options.out / "decode.json").write_text(text + "\n", encoding="utf-8")
    times = {name: row["seconds"] for name, row in summary["rows"].items()}
    peaks = {name: row["peak_over_tensor"] for name, row in summary["rows"].items()}
    svg = bars([("seconds (median)", times), ("peak memory, in sizes of the result", peaks)])
    (options.out / "decode.svg").write_text(svg, encoding="utf-8")
    print(f"written: {options.out / 'decode.json'}, {options.out / 'decode.svg'}")


if __name__ == "__main__":
    main()
