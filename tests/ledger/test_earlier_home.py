"""A home that the released 0.1.0 left behind is taken up: nothing in it is charged or downloaded again.

``home-0.1.0`` holds three finished tasks with their media, a create without an answer, a task that was left waiting,
and the data of the sandbox that they were sent to.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from xalora_client import Client, FluxLoraTask, Text2VideoTask, UpscalerTask
from xalora_client.sequencer import close_local_sandboxes

RELEASED = Path(__file__).with_name("home-0.1.0")
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAFElEQVR4nGPkOiHHgA0wYRWlkwQAjsYA/Plq4M8A"
    "AAAASUVORK5CYII="
)
FINISHED = {
    "59d83034a80b4b449ee9d0000c48a484": Text2VideoTask(
        "a rabbit in the snow", width=64, height=48, length=5, seed=7, workflow_id="1"
    ),
    "eb97ff98408f4fbd8372668ce1ed4e97": UpscalerTask(IMAGE),
    "c9426aec306a438daa039a3991ccbaa3": FluxLoraTask(
        "a gecko", "gecko.safetensors", width=64, height=64, workflow_id="3"
    ),
}
WAITING = "213eb30feac8473ab7242a0b60ed6027"
DOUBTFUL_JOB = "sdk-workflow-00000d0bt1"


@pytest.fixture
def home(tmp_path):
    """A copy of the home, whose sandbox ends with the test."""
    yield shutil.copytree(RELEASED, tmp_path / "home")
    close_local_sandboxes()


def rows(path, sql):
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def in_ledger(home, sql):
    return rows(home / "ledger.sqlite3", sql)


def in_sandbox(home, sql):
    return rows(home / "sandbox" / "sandbox.sqlite3", sql)


def media(home):
    """All stored files and their bytes."""
    return {path: path.read_bytes() for path in (home / "media").glob("??/*")}


def small_video(prompt):
    return Text2VideoTask(prompt, width=64, height=48, length=1, workflow_id="1")


def make(home, task):
    """Make the task and download its result, as a user does who has upgraded; returns where it came from, too."""
    origins = set()
    with Client(workflow_url="sandbox", home=home, ledger=True) as client:
        result = client.execute_workflow_and_wait_for_result(task, on_update=lambda each: origins.add(each.origin))
        return result, client.download(result), origins


JOBS = "SELECT job_id, task_id FROM tasks ORDER BY rowid"
DOWNLOADS = "SELECT count(*) FROM requests WHERE endpoint GLOB 'media/*'"
CREATES = "SELECT job_id, status_code FROM requests WHERE endpoint = 'task_create' ORDER BY rowid"


@pytest.mark.parametrize("task_id", FINISHED)
def test_a_finished_task_is_reused_with_its_media(home, task_id):
    known, in_server, stored = in_ledger(home, JOBS), in_sandbox(home, JOBS), media(home)
    creates, downloads = in_sandbox(home, CREATES), in_sandbox(home, DOWNLOADS)
    ((sha256, extension),) = in_ledger(home, f"SELECT sha256, extension FROM tasks WHERE task_id = '{task_id}'")
    result, file, origins = make(home, FINISHED[task_id])
    assert (result.task_id, origins) == (task_id, {"finished"})
    assert file.path == home / "media" / sha256[:2] / f"{sha256}{extension}"
    assert media(home) == stored
    assert in_ledger(home, JOBS) == known
    assert in_sandbox(home, JOBS) == in_server
    assert (in_sandbox(home, CREATES), in_sandbox(home, DOWNLOADS)) == (creates, downloads)


def test_a_waiting_task_is_attached_to_and_finishes(home):
    creates = in_sandbox(home, CREATES)
    result, file, origins = make(home, small_video("left waiting"))
    assert (result.task_id, result.status, origins) == (WAITING, "finished", {"attach"})
    assert (file.info.width, file.info.height, file.info.frames) == (64, 48, 1)
    assert in_sandbox(home, CREATES) == creates
    assert in_ledger(home, f"SELECT state FROM tasks WHERE task_id = '{WAITING}'") == [("finished",)]
    assert in_sandbox(home, f"SELECT status FROM tasks WHERE task_id = '{WAITING}'") == [("finished",)]


def test_a_doubtful_create_is_sent_again_under_its_job_id(home):
    creates, in_server = in_sandbox(home, CREATES), in_sandbox(home, JOBS)
    result, _, origins = make(home, small_video("a create without an answer"))
    assert (result.status, origins) == ("finished", {"resend"})
    assert in_sandbox(home, CREATES) == [*creates, (DOUBTFUL_JOB, 200)]
    assert in_sandbox(home, JOBS) == [*in_server, (DOUBTFUL_JOB, result.task_id)]
    assert in_ledger(home, f"SELECT task_id, state, tries FROM tasks WHERE job_id = '{DOUBTFUL_JOB}'") == [
        (result.task_id, "finished", 2)
    ]


def test_columns_are_added_and_other_entries_stay_as_they_are(home):
    def kept():
        others = f"SELECT * FROM tasks WHERE job_id != '{DOUBTFUL_JOB}' ORDER BY number"
        return in_ledger(home, "PRAGMA table_info(tasks)"), in_ledger(home, others)

    columns, entries = kept()
    make(home, small_video("a create without an answer"))
    columns_now, entries_now = kept()
    assert columns_now[: len(columns)] == columns
    assert [name for _, name, *_ in columns_now[len(columns) :]] == ["place"]
    assert entries_now == [(*entry, "null") for entry in entries]
    assert not list(home.glob("*corrupt*"))
