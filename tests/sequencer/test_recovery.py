"""``xalora sequencer --backup`` and ``--recover``: copies of a live database, and what is saved of a damaged one."""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
import sys
from contextlib import closing, suppress

import pytest

from tests.support.fake_miner import in_thread
from xalora_client import XaloraError
from xalora_client.cli import main
from xalora_client.sequencer import SequencerOptions
from xalora_client.sequencer.app import serve
from xalora_client.sequencer.recovery import recover

NAME = "sequencer.sqlite3"


def jobs(path):
    with closing(sqlite3.connect(path)) as db:
        return {job for (job,) in db.execute("SELECT job_id FROM tasks NOT INDEXED")}


def command(data, *arguments):
    return main(["sequencer", "--data", str(data), *map(str, arguments)])


def test_a_backup_of_a_live_sequencer_is_whole_and_private_and_replaces_nothing(sequencer, tmp_path, capsys):
    server = sequencer()
    miner = server.miner()
    for number in range(50):
        server.make(more={"job_id": f"sdk-workflow-{number}"})
    task = miner.take()
    goes_on = in_thread(lambda: [server.make() for _ in range(50)])
    to = tmp_path / "copy.sqlite3"
    assert command(server.data, "--backup", to) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert len(goes_on.result(30)) == 50
    before = to.read_bytes()
    assert command(server.data, "--backup", to) == 2
    assert "is there already" in capsys.readouterr().err
    assert to.read_bytes() == before
    if sys.platform != "win32":
        assert to.stat().st_mode & 0o777 == 0o600
    assert miner.beat(task) == {"lease_seconds": 30}
    server.stop()
    assert command(server.data, "--backup", tmp_path / "stopped.sqlite3") == 0
    assert len(jobs(tmp_path / "stopped.sqlite3")) == 100

    restored = tmp_path / "restored"
    restored.mkdir()
    to.rename(restored / NAME)
    again = sequencer(restored, now=server.clock.now)
    assert again.query(task["task_id"])["status"] == "running"
    assert again.make(more={"job_id": "sdk-workflow-7"}) in {one for (one,) in server.rows("SELECT task_id FROM tasks")}


@pytest.mark.parametrize("option", [("--recover",), ("--backup", "copy")])
def test_where_nothing_is_nothing_is_made(tmp_path, capsys, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    assert command(tmp_path / "data", *option) == 2
    assert "There is no" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()


@pytest.fixture
def full(sequencer):
    """A stopped sequencer's file with 120 tasks, of which one is finished; its job ids."""
    server = sequencer()
    miner = server.miner()
    for number in range(120):
        server.make(more={"job_id": f"sdk-workflow-{number}"}, prompt="x" * (number * 40))
    miner.finish(miner.take())
    server.stop()
    return server.data / NAME


def refused(data):
    with pytest.raises(XaloraError) as caught:
        asyncio.run(serve("127.0.0.1", 0, data, SequencerOptions()))
    return str(caught.value)


def test_what_can_be_read_of_a_damaged_file_is_saved_and_the_rest_named(full, sequencer, capsys):
    all_jobs = jobs(full)
    size = 4096
    content = bytearray(full.read_bytes())
    # A leaf of the tasks: page 13 is the kind that has rows.
    leaves = [page for page in range(len(content) // size) if content[page * size] == 13 and page > 20]
    content[leaves[3] * size : (leaves[3] + 1) * size] = b"\xaa" * size
    full.write_bytes(content)
    said = refused(full.parent)
    assert "--recover" in said
    assert full.read_bytes() == content  # Nothing was changed.
    assert command(full.parent, "--recover") == 1
    lines = capsys.readouterr().out.splitlines()
    (kept,) = full.parent.glob(f"{NAME}.damaged-*")
    assert str(kept) in lines[0]
    assert kept.read_bytes()[leaves[3] * size :] == content[leaves[3] * size :]
    lost = [line for line in lines if re.fullmatch(r"Lost: task [0-9a-f]{32}", line)]
    saved = jobs(full)
    assert saved < all_jobs
    assert len(lost) == len(all_jobs - saved) < 30
    server = sequencer(now=1_000_000.0)
    assert server.make(more={"job_id": next(iter(saved))})
    server.stop()
    assert command(full.parent, "--recover") == 0
    assert "not damaged" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_is_refused_in_words_and_recovered(full, seed):
    rng = random.Random(seed)
    all_jobs = jobs(full)
    content = bytearray(full.read_bytes())
    for _ in range(rng.choice((1, 3, 10))):
        start = rng.randrange(len(content)) if seed % 4 else rng.randrange(4096)
        length = rng.choice((1, 50, 4096))
        content[start : start + length] = rng.randbytes(len(content[start : start + length]))
    if seed % 10 == 9:
        del content[rng.randrange(len(content)) :]
    full.write_bytes(content)
    with suppress(XaloraError):  # Where even its tables' names are damaged, it may be another program's.
        found = recover(full.parent)
        saved = jobs(full)
        assert saved <= all_jobs or found is None
        if found is not None:
            assert found.kept.exists()
            assert recover(full.parent) is None
