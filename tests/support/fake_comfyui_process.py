"""``python -m tests.support.fake_comfyui_process PORT JOURNAL SECONDS STEPS``: a fake ComfyUI that can be killed.

Each prompt that ran to its end is a line of the journal, as JSON: its sampler's text, and when it ended.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from tests.support.fake_comfyui import SAMPLER, FakeComfyUI, Plan


class Journal(list[str]):
    """Prompts that ended, each written down at once."""

    def __init__(self, comfy: FakeComfyUI, file: Path) -> None:
        super().__init__()
        self.comfy, self.file = comfy, file

    def append(self, prompt_id: str) -> None:
        super().append(prompt_id)
        nodes = self.comfy.prompts[prompt_id].values()
        (text,) = [node["inputs"]["text"] for node in nodes if node["class_type"] == SAMPLER]
        with self.file.open("a") as file:
            file.write(json.dumps({"text": text, "ended": time.time()}) + "\n")


async def main(port: int, journal: Path, seconds: float, steps: int) -> None:
    """Serve until the process is killed."""
    comfy = FakeComfyUI(plan=lambda _: Plan(seconds, steps), port=port)
    comfy.finished = Journal(comfy, journal)
    await comfy.start()
    print(comfy.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
