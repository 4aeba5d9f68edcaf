"""A task with several results: where the command writes them."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.fake_file_server import File
from tests.support.fake_sequencer import status
from tests.support.pictures import png
from tests.support.processes import PATIENCE

PICTURES = [png(8), png(9), png(8)]
COMMANDS = [["run", "--task-type", "t"], ["fetch", "t1"], ["flux-lora", "x", "--lora", "l"], ["upscale", "a.png"]]


@pytest.fixture
def batch(scripted, files, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    urls = [files.serve(f"/{number}.png", File(picture)) for number, picture in enumerate(PICTURES)]
    answer = status("finished", result=urls[0], results=urls, revision=3, long_poll_seconds=25)
    scripted.script("task_result_query", answer)
    return urls


def written(folder: Path, *names: str) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0])
def test_the_others_get_a_number(xalora, batch, tmp_path, arguments):
    names = ["out.png", "out-2.png", "out-3.png"]
    done = xalora(*arguments, "-o", "out.png")
    assert (done.code, done.out) == (0, "".join(f"{name}\n" for name in names))
    assert written(tmp_path, *names) == PICTURES
    again = xalora(*arguments, "-o", "out.png", "--json").json  # The same files are the same, and nobody else's.
    again = again["results"][0] if "results" in again else again
    assert [each["path"] for each in again["files"]] == names
    assert again["path"] == "out.png"
    assert (again["result_url"], again["result_urls"]) == (batch[0], batch)
    assert [each["width"] for each in again["files"]] == [8, 9, 8]


def test_a_file_of_somebody_else_stays(xalora, batch, tmp_path):
    (tmp_path / "out-2.png").write_bytes(b"mine")
    (tmp_path / "out-4.png").mkdir()
    assert xalora("fetch", "t1", "-o", "out.png").out == "out.png\nout-3.png\nout-5.png\n"
    assert written(tmp_path, "out.png", "out-3.png", "out-5.png", "out-2.png") == [*PICTURES, b"mine"]


@pytest.mark.parametrize("output", ["folder", "new/"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0])
def test_a_folder_gets_all(xalora, batch, tmp_path, arguments, output):
    (tmp_path / "folder").mkdir()
    done = xalora(*arguments, "-o", output)
    stem = "a-upscaled" if arguments[0] == "upscale" else "t1"
    folder = Path(output)
    names = [str(folder / f"{stem}{end}.png") for end in ("", "-2", "-3")]
    assert (done.code, done.out.split()) == (0, names)
    assert written(tmp_path, *names) == PICTURES


def test_images_of_one_name_leave_each_other_alone(xalora, batch, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "A.png").write_bytes(png(5))
    saved = xalora("upscale", "a.png", "other/A.png", "-o", "new", "--json").json["results"]
    paths = [each["path"] for one in saved for each in one["files"]]
    assert len({path.casefold() for path in paths}) == 6
    assert written(tmp_path, *paths) == PICTURES * 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_stdout_or_a_pipe_gets_the_first_and_the_others_are_named(xalora, batch, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_bytes)
        done = xalora("fetch", "t1", "-o", "pipe")
        assert read.result(PATIENCE) == PICTURES[0]
    assert done.code == 0
    named = [line.partition(" is in ")[2] for line in done.err.splitlines() if "another result is in" in line]
    assert [Path(name).read_bytes() for name in named] == PICTURES[1:]
    assert done.out.splitlines() == ["pipe", *named]


def test_the_status_has_the_addresses_of_all(xalora, batch):
    assert xalora("status", "t1").out == f"finished {' '.join(batch)}\n"


def test_what_came_is_saved_although_the_next_does_not_come(xalora, batch, files, tmp_path):
    files.serve("/1.png", File(b"", status=410))
    failed = xalora("fetch", "t1", "-o", "out.png")
    assert failed.code == 3
    assert (tmp_path / "out.png").read_bytes() == PICTURES[0]
    files.serve("/1.png", File(PICTURES[1]))
    assert xalora("fetch", "t1", "-o", "out.png").code == 0
    assert written(tmp_path, "out.png", "out-2.png", "out-3.png") == PICTURES
