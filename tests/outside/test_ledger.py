"""The ledger in a Xalora home: its columns, and that one which version 0.1.0 wrote is opened, attached to and reused.

``ledger-c6ad334.sqlite3`` was written by the client of that commit. Its tasks are called after what became of them. The
one that was doubtful got no answer, and the one that was interrupted was being created when its process ended.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_sequencer import DROP, Answer, FakeSequencer, Seen, status
from tests.support.processes import Command
from tests.support.snapshot import Snapshot, shape
from xalora_client import (
    Client,
    CustomTask,
    FluxLoraTask,
    InputImage,
    Text2VideoTask,
    UpscalerTask,
    WorkflowTask,
    XaloraError,
)

WRITTEN = Path(__file__).with_name("ledger-c6ad334.sqlite3")
SERVER = "http://sequencer.example"
KEY = "consumer-1#secret-key"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAFElEQVR4nGPkOiHHgA0wYRWlkwQAjsYA/Plq4M8AAAAASUVORK5CYII="
)
TIMES = ("created", "submitted", "finished")


def video(name: str) -> Text2VideoTask:
    return Text2VideoTask(name, width=64, height=48, length=5, seed=7, workflow_id="1")


TASKS: dict[str, WorkflowTask] = {
    **{name: video(name) for name in ("finished", "failed", "canceled", "refused", "doubtful", "interrupted")},
    "image": UpscalerTask("https://example.com/a.png", timeout_seconds=600),
    "picture": UpscalerTask(InputImage.from_bytes(PNG, "image/png")),
    "waiting": FluxLoraTask("waiting", "gecko.safetensors", guidance=3.5),
    "running": CustomTask("img2img", {"name": "running", "n": [1, None, 1.5, "ü"]}),
}

NUMBERS = {"refused": 7, "doubtful": 8, "interrupted": 10}
"""Tasks that have no id: their numbers in that ledger."""


class Proxy(FakeSequencer):
    """The sequencer of that ledger, whose address leads nowhere, as a proxy reaches it. It finishes tasks at once."""

    def __init__(self) -> None:
        super().__init__()
        self.script("task_create", Answer({"task_id": "new", "revision": 0, "long_poll_seconds": 25}))
        self.script("task_result_query", status("finished", result=f"{SERVER}/media/a.png"))
        self.script("", Answer({}, 404))
        self.script("media/a.png", Answer(PNG))

    def take(self, seen: Seen) -> Answer:
        assert seen.path.startswith(f"{SERVER}/")
        return super().take(Seen(seen.method, seen.path.removeprefix(SERVER), seen.headers, seen.body))


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    server = Proxy()
    monkeypatch.setenv("HTTP_PROXY", server.url)
    yield server
    server.close()


@pytest.fixture
def ledger(home: Path) -> Path:
    """A home with that ledger, and with the media that its finished tasks have."""
    home.mkdir()
    name = hashlib.sha256(PNG).hexdigest()
    (home / "media" / name[:2]).mkdir(parents=True)
    (home / "media" / name[:2] / f"{name}.png").write_bytes(PNG)
    return Path(shutil.copyfile(WRITTEN, home / "ledger.sqlite3"))


def rows(file: Path, sql: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(file)) as db:
        return db.execute(sql, values).fetchall()


def written(file: Path) -> dict[str, Any]:
    """Columns with their types, indexes, and the version."""
    columns = rows(file, "SELECT name, type || iif(\"notnull\", ' NOT NULL', '') FROM pragma_table_info('tasks')")
    indexes = rows(file, "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name")
    ((version,),) = rows(file, "PRAGMA user_version")
    return {"version": version, "columns": dict(columns), "indexes": dict(indexes)}


def test_columns(home: Path, ledger: Path, proxy: Proxy, snapshot: Snapshot) -> None:
    """Of a new ledger, and of one that was there."""
    for folder in (home, home / "other"):
        with Client(KEY, SERVER, home=folder, ledger=True) as client:
            client.execute_workflow(CustomTask("kind", {}))
        snapshot.check("table", written(folder / "ledger.sqlite3"))


def test_what_is_written(home: Path, proxy: Proxy, snapshot: Snapshot) -> None:
    """The words and numbers in a new ledger, after each thing that becomes of a task; the rest is texts and times."""
    file = home / "ledger.sqlite3"
    found: dict[str, Any] = {}
    answers: dict[str, Answer] = {
        "refused": Answer({"message": "no credit"}, 402),
        "doubtful": DROP,
        "failed": status("failed", msg="out of memory"),
        "canceled": status("canceled"),
        "running": status("running"),
        "finished": status("finished", result=f"{SERVER}/media/a.png", inference_latency=2.5, upload_latency=0.5),
    }

    def note(name: str) -> None:
        what = "state, source, place, tries, task_id, owner IS NULL, inference_latency, upload_latency, extension, size"
        (row,) = rows(file, f"SELECT {what} FROM tasks ORDER BY number DESC LIMIT 1")
        found[name] = dict(zip(what.split(", "), row, strict=True))

    def create(_: Seen) -> Answer:
        note("creating")
        return Answer({"task_id": "t1", "msg": "ok"})

    with Client(KEY, SERVER, home=home, ledger=True) as client:
        for name, answer in answers.items():
            if name in ("refused", "doubtful"):
                proxy.script("task_create", answer)
                with pytest.raises(XaloraError):
                    client.execute_workflow(video(name))
            else:
                proxy.script("task_create", create)
                proxy.script("task_result_query", answer)
                task_id = client.execute_workflow(video(name))
                note("waiting")
                result = client.query_task_result(task_id)
                if name == "finished":
                    client.download(result)
            note(name)
    snapshot.check("written", found)


def test_the_list_of_tasks(home: Path, ledger: Path, tmp_path: Path, snapshot: Snapshot) -> None:
    """``xalora tasks --json`` of that ledger."""
    command = Command("tasks", "--json", cwd=tmp_path, home=home)
    assert command.wait() == 0
    tasks = json.loads(command.output())["tasks"]
    command.close()
    snapshot.check("tasks", [task | {name: shape(task[name]) for name in TIMES} for task in tasks])


@pytest.mark.parametrize("name", TASKS)
def test_nothing_is_paid_for_twice(home: Path, ledger: Path, proxy: Proxy, snapshot: Snapshot, name: str) -> None:
    """What running each task again sends, and where its result is taken from."""
    origins: dict[str, None] = {}
    known = "SELECT job_id FROM tasks WHERE task_id = ? OR number = ?"
    ((job_id,),) = rows(ledger, known, f"t-{name}", NUMBERS.get(name))
    columns = ", ".join(written(ledger)["columns"])  # Later versions may add some.
    others = rows(ledger, f"SELECT {columns} FROM tasks WHERE job_id != ? ORDER BY number", job_id)
    with Client(KEY, SERVER, home=home, ledger=True) as client:
        result = client.execute_workflow_and_wait_for_result(
            TASKS[name], on_update=lambda update: origins.setdefault(update.origin)
        )
        assert client.download(result).path.read_bytes() == PNG
    creates = [seen.body["job_id"] for seen in proxy.seen if seen.path == "/task_create"]
    snapshot.check(
        f"again: {name}",
        {
            "origins": list(origins),
            "creates": ["under its old id" if each == job_id else "under a new id" for each in creates],
            "downloads": proxy.count("media/a.png"),
            "task": result.task_id,
        },
    )
    kept = f"SELECT {columns} FROM tasks WHERE job_id != ? AND number <= ? ORDER BY number"
    assert rows(ledger, kept, job_id, len(TASKS)) == others
