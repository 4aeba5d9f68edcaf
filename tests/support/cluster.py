"""A sequencer and miners as the commands that people start, each a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from tests.support.fake_comfyui import workflow
from tests.support.processes import PATIENCE, ROOT, Command, bare_environment

KEY = "consumer#offload-test-key"
MINER_KEY = "offload-miner-key"


class SequencerProcess(Command):
    """``xalora sequencer``; ``url`` is where it listens. Start it again on the same folder and port after ``kill``.

    Its clock runs ``speed`` times as fast: leases end sooner. Without ``keys`` it takes everybody.
    """

    def __init__(
        self, folder: Path, *arguments: object, port: int = 0, speed: float = 1.0, keys: bool = True, **environ: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        fast = (Path(__file__).with_name("fast_sequencer.py"), speed)
        super().__init__(
            "sequencer", "--data", folder / "data", "--port", port,
            *(["--api-key", KEY, "--miner-key", MINER_KEY] if keys else []), *arguments,
            cwd=folder, home=folder / "home",
            program=("-m", "xalora_client") if speed == 1.0 else fast, **environ,
        )  # fmt: skip
        self.ready = self.first_line()
        self.url = self.ready.removeprefix("Xalora sequencer listening on ")
        self.port = int(self.url.rpartition(":")[2])

    def ask(self, endpoint: str, **body: Any) -> dict[str, Any]:
        """What it answers to a consumer's request."""
        consumer_id, _, api_key = KEY.partition("#")
        said = {"consumer_id": consumer_id, "api_key": api_key} | body
        answer = requests.post(f"{self.url}/{endpoint}", json=said, timeout=PATIENCE)
        answer.raise_for_status()
        return dict(answer.json())

    def create(self, task_type: str, workflow_id: str | None, job_id: str, **parameters: Any) -> str:
        """The id of a new task."""
        body = {"task_type": task_type, "task_details": {"parameters": parameters}, "job_id": job_id}
        return str(self.ask("task_create", **body | ({"workflow_id": workflow_id} if workflow_id else {}))["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        """How a task stands."""
        return self.ask("task_result_query", task_id=task_id)

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.close()


class MinerProcess(Command):
    """``xalora miner`` for some ComfyUIs."""

    def __init__(
        self, folder: Path, sequencer: str, *comfyuis: str, workflows: Path | None = None, name: str = "box"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        addresses = [part for each in comfyuis for part in ("--comfyui", each)]
        where = ["--workflows", workflows] if workflows else ["--accept-workflows"]
        super().__init__(
            "miner", "--sequencer", sequencer, *addresses, *where, "--name", name,
            cwd=folder, home=folder / "home", XALORA_MINER_KEY=MINER_KEY,
        )  # fmt: skip

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.close()


class FakeComfyUIProcess:
    """A fake ComfyUI whose prompts take so many seconds; ``journal`` gets a line for each that ran to its end."""

    def __init__(self, port: int, journal: Path, seconds: float, steps: int = 10) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fake_comfyui_process", *map(str, (port, journal, seconds, steps))],
            env=bare_environment(PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def write_workflow(folder: Path) -> Path:
    """The workflow of the fake ComfyUI, which takes ``prompt`` and ``steps``, as txt2img.slow."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "txt2img.slow.json").write_text(json.dumps(workflow()))
    return folder
