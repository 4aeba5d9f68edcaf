"""``python -m tests.hostile.power_cuts [CUTS]``: cut a sequencer's power, and look for all that it acknowledged.

A shim records each write, rename and flush of the process. At a cut it is killed, and its folder is set back to what
was flushed: a file's bytes count once the file was flushed, its name once its folder was. Every second cut keeps some
of the rest as well, in pieces, as disks do. Then it starts again. Exits with 1 where something is lost.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.support.fake_miner import FakeMiner
from tests.support.pictures import png
from tests.support.processes import Command

SHIM = Path(__file__).with_name("power_cut.c")
PAGE = 4096
WHO = {"consumer_id": "alice", "api_key": "key"}
ERROR = {"node_id": "3", "title": "KSampler", "class_type": "KSampler", "message": "a latent of no size"}

BROKEN = {
    "creates are not flushed": "xalora_client.sequencer.database_file._flush_bytes = lambda log: None",
    "results are not flushed": "xalora_client.storage.files._flush = lambda path, flags: None",
}
"""Statements after which the promise cannot hold, to try the cuts themselves."""


def build(folder: Path) -> Path:
    """Compile the shim. Needs gcc, on Linux."""
    library = folder / "power_cut.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl", "-lpthread"], check=True)
    return library


@dataclass
class File:
    """A file's bytes: those that are on the disk, those that were written, and the changes that lead there.

    ``count`` is how many changes are on the disk.
    """

    flushed: bytearray = field(default_factory=bytearray)
    present: bytearray = field(default_factory=bytearray)
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)
    count: int = 0

    def change(self, offset: int, content: bytes | None) -> None:
        self.changes.append((offset, content))
        apply(self.present, offset, content)

    def left(self, rng: random.Random | None) -> bytes:
        """What a cut leaves; with ``rng`` some of what was not flushed too."""
        content = bytearray(self.flushed)
        for offset, written in self.changes if rng else []:
            if written is None:
                if rng.random() < 0.5:
                    apply(content, offset, None)
                continue
            start = 0
            while start < len(written):
                end = start + PAGE - (offset + start) % PAGE
                if rng.random() < 0.5:
                    apply(content, offset + start, written[start:end])
                start = end
        return bytes(content)


def apply(content: bytearray, offset: int, written: bytes | None) -> None:
    """Write at an offset, or with None cut or extend to that size."""
    if written is None:
        del content[offset:]
        content += bytes(offset - len(content))
        return
    content += bytes(max(0, offset - len(content)))
    content[offset : offset + len(written)] = written


class Disk:
    """A folder as its disk has it, by the records of what was done to it since ``__init__``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, File | None] = {".": None}  # None for folders.
        for path in folder.rglob("*"):
            content = None if path.is_dir() else path.read_bytes()
            name = str(path.relative_to(folder))
            self.names[name] = None if content is None else File(bytearray(content), bytearray(content))
        self.flushed_names = dict(self.names)
        self.name_changes: list[tuple[str, File | None, bool]] = []

    def replay(self, log: bytes) -> None:
        """Do what the records say. The last one may be cut off."""
        opened: dict[int, tuple[str, File | None]] = {}
        flushes: dict[int, Callable[[], None]] = {}
        position = 0
        while (end := log.find(b"\n", position)) >= 0:
            what, _, rest = log[position:end].decode().partition(" ")
            position = end + 1
            if what == "open":
                number, truncated, name = rest.split(" ", 2)
                if name not in self.names:
                    self._name(name, File())
                file = self.names[name]
                if file is not None and truncated == "1":
                    file.change(0, None)
                opened[int(number)] = (name, file)
            elif what == "write":
                number, offset, size = map(int, rest.split())
                content = log[position : position + size]
                position += size
                if (file := opened[number][1]) is not None and len(content) == size:
                    file.change(offset, content)
            elif what == "truncate":
                number, size = map(int, rest.split())
                if (file := opened[number][1]) is not None:
                    file.change(size, None)
            elif what == "flush":
                number, flush = map(int, rest.split())
                flushes[flush] = self._flush(*opened[number])
            elif what == "flushed":
                flushes.pop(int(rest))()
            elif what == "rename":
                end = log.find(b"\n", position)
                to = log[position:end].decode()
                position = end + 1
                self._name(to, self.names[rest])
                self._unname(rest)
            elif what == "unlink" and rest in self.names:
                self._unname(rest)
            elif what == "mkdir":
                self._name(rest, None)

    def restore(self, rng: random.Random | None) -> None:
        """Set the real folder to what a cut leaves."""
        names = dict(self.flushed_names)
        for name, file, is_there in self.name_changes[: rng.randint(0, len(self.name_changes))] if rng else []:
            names[name] = file
            if not is_there:
                del names[name]
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        for name in sorted(names):
            path = self.folder / name
            file = names[name]
            if path.parent.is_dir() and file is None:
                path.mkdir(exist_ok=True)
            elif path.parent.is_dir() and file is not None:
                path.write_bytes(file.left(rng))

    def _name(self, name: str, file: File | None) -> None:
        self.names[name] = file
        self.name_changes.append((name, file, True))

    def _unname(self, name: str) -> None:
        self.name_changes.append((name, self.names.pop(name), False))

    def _flush(self, name: str, file: File | None) -> Callable[[], None]:
        """What a flush that begins now does to the disk, once it has ended."""
        if file is not None:
            content, count = bytearray(file.present), file.count + len(file.changes)

            def flush_file() -> None:
                if count > file.count:  # Else a flush that began later has ended before: what it wrote stays there.
                    del file.changes[: count - file.count]
                    file.flushed, file.count = content, count

            return flush_file
        kept = {id(change): change for change in self.name_changes if str(Path(change[0]).parent) == name}

        def flush_folder() -> None:
            for one, file, is_there in (change for change in self.name_changes if id(change) in kept):
                self.flushed_names[one] = file
                if not is_there:
                    del self.flushed_names[one]
            self.name_changes = [change for change in self.name_changes if id(change) not in kept]

        return flush_folder


@dataclass
class Known:
    """What a client knows of a task: its last answer, and whether something else was asked for since."""

    job_id: str | None = None
    status: str = "created"
    contents: list[bytes] = field(default_factory=list)
    is_asked: bool = False


class Cuts:
    """One data folder through many cuts. ``lost`` says what was lost, ``count`` how much was acknowledged."""

    def __init__(self, folder: Path, library: Path, seed: int, broken: str | None = None) -> None:
        self.folder, self.data, self.library = folder, folder / "data", library
        self.rng = random.Random(seed)
        self.program = f"import xalora_client.sequencer.database_file, xalora_client.storage.files\n{broken or ''}\n"
        self.program += "import sys\nfrom xalora_client.cli import main\nsys.exit(main())"
        self.known: dict[str, Known] = {}
        self.count = 0
        self.lost: list[str] = []
        self.data.mkdir()

    def cut(self, keeps_some: bool) -> None:
        """Start, look for what is known, work, and cut."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        disk = Disk(self.data)
        command = Command(
            "sequencer", "--port", 0, "--data", self.data, cwd=self.folder, home=self.folder,
            program=("-c", self.program), LD_PRELOAD=str(self.library),
            POWER_CUT_FOLDER=str(self.data), POWER_CUT_LOG=str(log),
        )  # fmt: skip
        try:
            url = command.first_line().rpartition(" ")[2]
            self.verify(url)
            self.work(url, command, 0.2 + self.rng.random())
        finally:
            command.process.kill()
            command.close()
        disk.replay(log.read_bytes())
        disk.restore(random.Random(self.rng.random()) if keeps_some else None)

    def verify(self, url: str) -> None:
        """Look for what is known of the newest tasks, and of some older ones."""
        newest = list(self.known)[-300:]
        for task_id in {*newest, *self.rng.sample(list(self.known), min(30, len(self.known)))}:
            known = self.known[task_id]
            if known.job_id is None and known.status == "created":
                continue  # Only a miner has heard of it: its create was not acknowledged.
            answer = requests.post(f"{url}/task_result_query", json=WHO | {"task_id": task_id}, timeout=30)
            now = answer.json() if answer.status_code == 200 else {"status": "gone"}
            expected = {known.status} if known.status != "created" else {"waiting", "running"}
            if now["status"] == "gone" or (now["status"] not in expected and not known.is_asked):
                self.lost.append(f"task {task_id} is {now['status']}, not {known.status}")
            elif known.contents and known.contents != [
                requests.get(media, timeout=30).content for media in now.get("results", [now["result"]])
            ]:
                self.lost.append(f"the results of task {task_id}")
            elif (
                known.job_id
                and self.rng.random() < 0.1
                and self.create(url, known.job_id).json().get("task_id") != task_id
            ):
                self.lost.append(f"the job id of task {task_id}")
        self.known = {task_id: known for task_id, known in self.known.items() if not known.is_asked}

    def create(self, url: str, job_id: str) -> requests.Response:
        body = {"task_type": "txt2vid", "workflow_id": "1", "job_id": job_id}
        prompt = "x" * random.Random(job_id).choice((10, 5_000, 200_000))
        body["task_details"] = {"parameters": {"prompt": prompt}}
        return requests.post(f"{url}/task_create", json=WHO | body, timeout=30)

    def work(self, url: str, command: Command, seconds: float) -> None:
        """Create, cancel and finish tasks until the power is cut."""
        over = threading.Event()
        miners = [FakeMiner(url, "txt2vid.1") for _ in range(2)]

        def repeat(step: Callable[..., None], *arguments: Any) -> None:
            with suppress(requests.RequestException, ValueError, AssertionError, KeyError):
                while not over.is_set():
                    step(*arguments)

        def creates(rng: random.Random) -> None:
            job_id = f"job-{rng.getrandbits(64):x}"
            answer = self.create(url, job_id)
            if answer.status_code == 200:
                task_id = answer.json()["task_id"]
                known = self.known.setdefault(task_id, Known())
                known.job_id = job_id
                self.count += 1
                if rng.random() < 0.2:
                    known.is_asked = True
                    canceled = requests.post(f"{url}/task_cancel", json=WHO | {"task_id": task_id}, timeout=30)
                    if canceled.status_code == 200 and "cancel" in canceled.json()["msg"] and known.status == "created":
                        known.status, known.is_asked = "canceled", False
                        self.count += 1

        def finishes(miner: FakeMiner, rng: random.Random) -> None:
            task = miner.take()
            known = self.known.setdefault(task["task_id"], Known())  # Its create may not be answered yet.
            contents = [png(rng.randint(1, 300), rng.randint(1, 300)) for _ in range(rng.randint(1, 3))]
            known.is_asked = True
            if rng.random() < 0.2:
                if miner.submit(task, success=False, error=ERROR).status_code == 200:
                    known.status, known.is_asked = "failed", False
                    self.count += 1
                return
            keys = [miner.upload(task, content).json()["result"] for content in contents]
            if miner.submit(task, result=keys[0], results=keys).status_code == 200:
                known.status, known.contents, known.is_asked = "finished", contents, False
                self.count += 1

        def seeded() -> random.Random:
            return random.Random(self.rng.random())

        threads = [threading.Thread(target=repeat, args=(creates, seeded())) for _ in range(3)]
        threads += [threading.Thread(target=repeat, args=(finishes, miner, seeded())) for miner in miners]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        command.process.kill()
        over.set()
        for thread in threads:
            thread.join()


def main(cuts: int, seed: int, broken: str | None = None) -> Cuts:
    """Cut one folder so often. The last start is for looking."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        run = Cuts(folder, build(folder), seed, broken)
        for number in range(cuts + 1):
            run.cut(keeps_some=number % 2 == 1)
            if run.lost:
                break
        return run


if __name__ == "__main__":
    begun = seed = int(time.time())
    left = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    while left > 0:  # Each folder gets larger with every cut.
        found = main(min(left, 20), seed)
        left, seed = left - 20, seed + 1
        print(
            f"{found.count:,} acknowledged, lost: {found.lost or 'nothing'} ({time.time() - begun:.0f} s)", flush=True
        )
        if found.lost:
            sys.exit(1)
