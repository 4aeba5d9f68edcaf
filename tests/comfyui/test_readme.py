"""The README's commands for GPUs of one's own, word for word, beside a ComfyUI at its usual address."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.comfyui_process import ComfyUIProcess, booted, skip_but_on_newest
from tests.support.processes import ROOT, bare_environment, poll
from tests.support.videos import frames_of

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """A command of the README."""
    return str(re.findall(rf"^<!-- own gpus: {name} -->\n```sh\n(.*?)\n```$", README, re.DOTALL | re.MULTILINE)[0])


@pytest.fixture
def usual(source: Path, tmp_path: Path) -> Iterator[ComfyUIProcess]:
    """A ComfyUI at its usual port, which tests of other versions leave free meanwhile."""
    skip_but_on_newest(source)
    with (Path(tempfile.gettempdir()) / "xalora-tests-usual-ports").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from booted(ComfyUIProcess(source, tmp_path / "comfyui"), 8188)


class Terminal:
    """A terminal with a command of the README in it."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", block(name)], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def said(self, text: str) -> None:
        poll(lambda: text in self.log.read_text() or self.process.poll() is not None)
        assert text in self.log.read_text(), self.log.read_text()

    def close(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)


def test_the_commands_for_ones_own_gpus(usual: ComfyUIProcess, tmp_path: Path) -> None:
    command = tmp_path / "bin" / "xalora"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m xalora_client "$@"\n')
    command.chmod(0o755)
    environment = bare_environment(
        PATH=f"{command.parent}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1",
        XALORA_HOME=str(tmp_path / "home"),
    )  # fmt: skip
    subprocess.run(["bash", "-c", block("workflows")], cwd=tmp_path, env=environment, check=True)
    sequencer = Terminal("sequencer", tmp_path, environment)
    try:
        sequencer.said("Xalora sequencer listening on http://127.0.0.1:8787")
        miner = Terminal("miner", tmp_path, environment)
        try:
            miner.said("ready")
            subprocess.run(["bash", "-c", block("client")], cwd=tmp_path, env=environment, check=True, timeout=120)
        finally:
            miner.close()
    finally:
        sequencer.close()
    assert frames_of(tmp_path / "rabbit.mp4")[0] == 13
