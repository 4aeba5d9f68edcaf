"""What scripts use of ``xalora``: exit codes, stdout with and without ``--json``, and stderr for everything else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import FakeComfyUIProcess, write_workflow
from tests.support.fake_file_server import FakeFileServer, File
from tests.support.fake_sequencer import DROP, Answer, FakeSequencer, Seen, status
from tests.support.pictures import png
from tests.support.processes import Command, free_port
from tests.support.snapshot import Snapshot, shape

KEY = "consumer-1#secret-key"
CREATED = Answer({"task_id": "t1", "revision": 0, "long_poll_seconds": 25})


def says(endpoint: str, *answers: Answer) -> Callable[[FakeSequencer], object]:
    """A sequencer that answers an endpoint like this."""
    return lambda sequencer: sequencer.script(endpoint, *answers)


def stands(name: str, **fields: Any) -> Callable[[FakeSequencer], object]:
    """A sequencer whose tasks stand like this."""
    return says("task_result_query", status(name, **fields))


@dataclass
class Case:
    """A command line, and what the sequencer does then; ``before`` is run first. It gets ``--json`` but for words."""

    arguments: str
    prepare: Callable[[FakeSequencer], object] = lambda _: None
    before: str = ""
    stdin: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    words: bool = False


NO = Answer({"message": "no"}, 400)
RUN = "run --task-type t -o x.png"
VIDEO = "text2video rabbit --width 64 --height 48 --length 5 -o x.webp"
UPSCALE = "upscale a.png b.png --max-parallel 1 -o out"

CASES = {
    "text2video": Case(VIDEO),
    "text2video, in words": Case(VIDEO, words=True),
    "flux-lora": Case("flux-lora gecko --lora g.safetensors -o x.png"),
    "run": Case(f"{RUN} --param a=1"),
    "upscale": Case(UPSCALE),
    "upscale, in words": Case(UPSCALE, words=True),
    "upscale, one fails": Case(UPSCALE, says("task_create", CREATED, NO)),
    "status, finished": Case("status t1"),
    "status, in words": Case("status t1", words=True),
    "status, running": Case("status t1", stands("running", msg="soon")),
    "status, failed": Case("status t1", stands("failed", msg="out of memory")),
    "fetch": Case("fetch t1 -o x.png"),
    "cancel": Case("cancel t1"),
    "cancel, in words": Case("cancel t1", words=True),
    "tasks": Case("tasks", before=RUN),
    "tasks, none": Case("tasks"),
    "tasks --forget": Case("tasks --forget t1", before=RUN),
    "prune": Case("prune --budget 0", before=RUN),
    "login": Case("login", stdin=f"{KEY}\n"),
    "doctor": Case("doctor"),
    "workflows check": Case("workflows check good"),
    "workflows check, faults": Case("workflows check bad"),
    "workflows copy": Case("workflows copy new --small"),
    "the task failed": Case("fetch t1 -o x.png", stands("failed")),
    "the task was canceled": Case(RUN, stands("canceled")),
    "the result is no media": Case("fetch t2 -o x.png"),
    "usage": Case("text2video"),
    "no command": Case(""),
    "a value out of range": Case("text2video rabbit --width 7 -o x.png"),
    "a place that cannot be written": Case("run --task-type t -o missing/x.png"),
    "no key": Case("status t1", environ={"XALORA_API_KEY": "", "XALORA_WORKFLOW_URL": ""}),
    "forgetting what is not there": Case("tasks --forget none"),
    "a folder that is none": Case("workflows check missing"),
    "the server refuses": Case(RUN, says("task_create", NO)),
    "the task is not known": Case("cancel t1", says("task_cancel", Answer({"message": "no"}, 404))),
    "an answer outside the protocol": Case("status t1", says("task_result_query", Answer(b"<html>"))),
    "no answer": Case(RUN, says("task_create", DROP)),
    "the file is gone": Case("fetch t3 -o x.png"),
    "timed out": Case("fetch t1 -o x.png --timeout 0.3", stands("running")),
}


class World:
    """A folder, a sequencer whose tasks are finished at once, and the command in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.sequencer, self.files = FakeSequencer(), FakeFileServer()
        self.files.serve("/t1", File(png(32, 16)))
        self.files.serve("/t2", File(b"<html>"))
        self.files.serve("/t3", File(b"gone", 410))
        self.sequencer.script("task_create", CREATED)
        self.sequencer.script("task_result_query", self._finished)
        (folder / "a.png").write_bytes(png(8))
        (folder / "b.png").write_bytes(png(9))
        write_workflow(folder / "good")
        write_workflow(folder / "bad")
        (folder / "bad" / "txt2vid.json").write_text("{")
        (folder / "bad" / "upscaler.json").write_text('{"1": {"class_type": "KSampler", "inputs": {}}}')

    def _finished(self, seen: Seen) -> Answer:
        return status("finished", result=f"{self.files.url}/{seen.body['task_id']}")

    def start(self, arguments: str, stdin: str = "", **environ: str) -> Command:
        settings = {"XALORA_API_KEY": KEY, "XALORA_WORKFLOW_URL": self.sequencer.url} | environ
        return Command(*arguments.split(), cwd=self.folder, home=self.home, stdin=stdin, **settings)

    def run(self, arguments: str, stdin: str = "", **environ: str) -> tuple[int, str, str]:
        """The exit code, stdout and stderr."""
        command = self.start(arguments, stdin, **environ)
        try:
            return command.wait(), command.output(), command.errors()
        finally:
            command.close()

    def try_out(self, case: Case) -> tuple[int, str, str]:
        """The same for a case."""
        if case.before:
            before = self.run(case.before)
            assert before[0] == 0, before
            for file in self.home.glob("media/??/*"):
                os.utime(file, (0, 0))  # Long ago: it may be pruned.
        case.prepare(self.sequencer)
        code, out, errors = self.run(case.arguments + ("" if case.words else " --json"), case.stdin, **case.environ)
        assert "secret-key" not in out + errors
        return code, out.replace(self.files.url, "<files>"), errors

    def close(self) -> None:
        self.sequencer.close()
        self.files.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[tuple[int, str, str]]]]:
    """What comes of each case. A few run at a time, because each is mostly Python's start."""

    def try_out(case: Case, folder: Path) -> tuple[int, str, str]:
        world = World(folder)
        try:
            return world.try_out(case)
        finally:
            world.close()

    with ThreadPoolExecutor(3) as pool:
        yield {name: pool.submit(try_out, case, tmp_path_factory.mktemp("case")) for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_exit_code_and_stdout(outcomes: dict[str, Future[tuple[int, str, str]]], snapshot: Snapshot, name: str) -> None:
    """Of JSON the names and types, and of an error its class. Progress and messages are on stderr alone."""
    code, out, errors = outcomes[name].result()
    if CASES[name].words:
        snapshot.check(name, {"exit": code, "stdout": out})
        return
    assert out.count("\n") == 1
    said = json.loads(out)
    words = {each: said[each] for each in ("error", "status", "task_id") if each in said}
    if name == "doctor":
        words = {"status": "str", "names": [each["name"] for each in said["checks"]]}  # The rest is this machine's.
    snapshot.check(name, {"exit": code, "json": shape(said) | words})
    if "error" in said or "path" in said:
        assert errors or name == "login"


def test_130_is_an_interruption(world: World, snapshot: Snapshot) -> None:
    """Ctrl-C, after the remote cancel."""
    stands("running")(world.sequencer)
    command = world.start(f"{RUN} --json")
    command.said("task t1 running")
    command.interrupt()
    code = command.wait()
    said = json.loads(command.output())
    command.close()
    assert world.sequencer.count("task_cancel") == 1
    snapshot.check("interrupted", {"exit": code, "json": shape(said) | {"error": said["error"]}})


@pytest.mark.parametrize("words", [True, False], ids=["words", "json"])
def test_what_serves_says_when_it_is_ready(world: World, snapshot: Snapshot, words: bool) -> None:
    """The first line of ``sandbox``, ``sequencer`` and ``miner``, and how Ctrl-C ends them."""
    started: list[Command] = []
    found: dict[str, Any] = {}

    def start(arguments: str) -> str:
        started.append(world.start(arguments if words else f"{arguments} --json"))
        line = started[-1].first_line()
        address = line.rpartition(" ")[2] if words else json.loads(line).get("url", "none")
        name = arguments.partition(" ")[0]
        found[name] = {"line": line.replace(address, "<url>") if address.startswith("http") else line}
        return str(address)

    comfyui = FakeComfyUIProcess(free_port(), world.folder / "journal", 0.0)
    try:
        start("sandbox --port 0")
        url = start("sequencer --port 0 --data data")
        start(f"miner --sequencer {url} --comfyui {comfyui.url} --workflows good --name box")
        for name, command in reversed(list(zip(found, started, strict=True))):
            command.interrupt()
            found[name]["exit"] = command.wait()
    finally:
        for each in started:
            each.close()
        comfyui.kill()
    snapshot.check(f"ready, in {'words' if words else 'json'}", found)
