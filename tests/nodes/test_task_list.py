"""The list of tasks in the editor: its pages, and which tasks the sequencer is asked about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.ledger_steps import answer, claim, identity, run_to
from tests.support.pictures import png
from xalora_client import TaskRecords
from xalora_client.ledger import Ledger


@pytest.fixture
def used(pack: Any) -> Path:
    """The home that the pack uses."""
    return pack.part("nodes.editor_api.settings").home()


@pytest.fixture
def ledger(used: Path, miner: FakeXalora) -> Iterator[Ledger]:
    """The tasks of the miner's sequencer, an hour old: a new one may be unknown to its server for a moment."""
    with Ledger(used, miner.url, clock=lambda: time.time() - 3600) as ledger:
        yield ledger


def accepted(ledger: Ledger, numbers: range) -> None:
    """Tasks task-1, task-2, … that have an id."""
    for number in numbers:
        run_to(ledger, "waiting", f"task-{number}", asked_of(ledger, f"a rabbit {number}"))


def asked_of(ledger: Ledger, name: str) -> Any:
    return replace(identity(name), server=ledger.server)


def rabbit(ledger: Ledger, prompt: str, task_type: str = "kind") -> Any:
    return replace(asked_of(ledger, prompt), task_type=task_type, parameters={"prompt": prompt})


def known(miner: FakeXalora, numbers: range, state: str = "running") -> None:
    """Have the sequencer know these tasks."""
    miner.parameters.update({number: {} for number in numbers})
    miner.ends = lambda number, _: status(state, task_id=f"task-{number}")


def asked(miner: FakeXalora) -> list[str]:
    return [seen.body["task_id"] for seen in miner.seen if seen.path == "/task_result_query"]


@pytest.fixture
def tasks(pack: Any, used: Path) -> Any:
    """A function that asks for a page of tasks, as the editor does."""
    return lambda **query: pack.part("nodes.editor_api.tasks").page(
        used, {name: str(each) for name, each in query.items()}
    )


def ids(page: dict[str, Any]) -> list[str]:
    return [task["task_id"] for task in page["tasks"]]


def test_pages_are_told_apart_by_what_is_asked_for(tasks: Any, ledger: Ledger) -> None:
    for number, state in enumerate(["running", "finished", "failed", "canceled", "finished"]):
        run_to(ledger, state, f"task-{number}", rabbit(ledger, f"a rabbit {number} in snow"))
    first = tasks(limit=2, state="finished,failed,canceled")
    second = tasks(limit=2, state="finished,failed,canceled", before=first["next"])
    assert (ids(first), ids(second)) == (["task-4", "task-3"], ["task-2", "task-1"])
    assert (first["total"], second["total"], first["all"]) == (4, 4, 5)
    found = tasks(limit=1, state="finished", text="SNOW rabbit")
    rest = tasks(limit=1, state="finished", text="SNOW rabbit", before=found["next"])
    assert (ids(found), ids(rest), found["total"], rest["total"]) == (["task-4"], ["task-1"], 2, 2)


@pytest.mark.parametrize("text", ["schnee RABBIT", "text2video", "txt2vid", "task-1", "no MEMORY", "ÜBER"])
def test_words_are_found_in_the_prompt_the_kind_the_ids_and_the_message(tasks: Any, ledger: Ledger, text: str) -> None:
    run_to(ledger, "running", "task-1", rabbit(ledger, "a rabbit über Schnee", "txt2vid"))
    ledger.observed("task-1", answer("failed", "task-1", msg="No memory left"))
    run_to(ledger, "finished", "other", rabbit(ledger, "a fox", "txt2img"))
    assert ids(tasks(text=text)) == ["task-1"]
    assert ids(tasks(text=f"{text} fox")) == []


def test_running_tasks_are_counted_on_every_page(
    pack: Any, used: Path, tasks: Any, ledger: Ledger, miner: FakeXalora
) -> None:
    accepted(ledger, range(3))
    claim(ledger, asked_of(ledger, "not sent"))
    run_to(ledger, "finished", "newest", asked_of(ledger, "done"))
    with Ledger(used, "https://elsewhere.example") as other:
        accepted(other, range(100, 102))
    (newest,) = tasks(limit=1, text="newest")["tasks"]
    assert tasks(limit=1)["running"] == tasks(text="nothing of it")["running"] == 3
    assert [task["doubt"] for task in tasks()["tasks"]] == ["elsewhere"] * 2 + [None] * 5
    ledger.observed("task-0", answer("finished", "task-0"))
    assert tasks(limit=1, before=newest["number"])["running"] == 2


def test_a_change_shows_in_the_files_and_a_look_does_not(pack: Any, used: Path, tasks: Any, ledger: Ledger) -> None:
    """Or each look would tell the editors to look again."""
    signature = pack.part("nodes.editor_api.tasks").signature
    seen = [signature(used)]
    accepted(ledger, range(1))
    seen.append(signature(used))
    ledger.canceled("task-0")
    seen.append(signature(used))
    ledger.close()
    seen.append(signature(used))
    assert all(before != after for before, after in pairwise(seen))
    tasks()
    with TaskRecords(used) as records:
        records.tasks()
        assert signature(used) == seen[-1]
    assert signature(used) == seen[-1]


def test_every_open_task_gets_its_turn_and_the_oldest_first(
    pack: Any, used: Path, ledger: Ledger, miner: FakeXalora
) -> None:
    actions = pack.part("nodes.editor_api.tasks")
    first, rest = range(1, actions.MOST_REFRESHED + 1), range(actions.MOST_REFRESHED + 1, 71)
    accepted(ledger, range(1, 71))
    # None of these can be asked about, and they are the newest.
    for number in range(60):
        claim(ledger, asked_of(ledger, f"not sent {number}"))
    with Ledger(used, "https://elsewhere.example") as other:
        accepted(other, range(100, 160))
    known(miner, range(1, 71))

    assert asyncio.run(actions.refresh(used)) == {"asked": len(first), "finished": 0, "problem": None}
    assert set(asked(miner)) == {f"task-{number}" for number in first}
    assert asyncio.run(actions.refresh(used))["asked"] == len(first)
    assert {f"task-{number}" for number in rest} <= set(asked(miner)[len(first) :])


def test_refreshes_at_the_same_time_are_one(pack: Any, used: Path, ledger: Ledger, miner: FakeXalora) -> None:
    accepted(ledger, range(1, 4))
    known(miner, range(1, 4))

    async def both() -> Any:
        refresh = pack.part("nodes.editor_api.tasks").refresh
        return await asyncio.gather(refresh(used), refresh(used))

    one, other = asyncio.run(both())
    assert one == other == {"asked": 3, "finished": 0, "problem": None}
    assert len(asked(miner)) == 3


@pytest.mark.parametrize("combined", ["artist#of-the-other", ""])
def test_tasks_of_another_server_are_asked_about_there_and_with_its_key(
    pack: Any, used: Path, tasks: Any, ledger: Ledger, miner: FakeXalora, combined: str
) -> None:
    """Where it is known; also one that needs no key. The environment names the server in force."""
    actions = pack.part("nodes.editor_api.tasks")
    with closing(FakeXalora()) as other, Ledger(used, other.url) as elsewhere:
        pack.part("xalora_client.config").store(used, workflow_url=other.url, api_key=combined)
        accepted(ledger, range(1, 2))
        accepted(elsewhere, range(5, 9))
        known(miner, range(1, 2))
        known(other, range(5, 9))
        assert [task["doubt"] for task in tasks()["tasks"]] == [None] * 5
        assert tasks()["running"] == 5
        assert asyncio.run(actions.refresh(used)) == {"asked": 5, "finished": 0, "problem": None}
        asyncio.run(actions.cancel(used, "task-5"))
        pack.run("XaloraCancelTask", task_id="task-6")
        other.ends = lambda number, _: png()
        assert asyncio.run(actions.collect(used, "task-7"))["task"]["state"] == "finished"
        status, frames, *_ = pack.run("XaloraTaskStatus", task_id="task-8")
        assert (status, len(frames)) == ("finished", 1)

        assert {*asked(miner)} == {"task-1"}
        assert {"task-5", "task-6", "task-7", "task-8"} <= {*asked(other)}
        assert [seen.body["task_id"] for seen in other.seen if seen.path == "/task_cancel"] == ["task-5", "task-6"]
        keys = {seen.body["api_key"] for seen in other.seen if seen.body}
        assert keys == {"of-the-other" if combined else "no-key-is-set"}
        assert {seen.body["api_key"] for seen in miner.seen if seen.body} == {"secret-of-tests"}
        assert not [seen for seen in (*miner.seen, *other.seen) if seen.path == "/task_create"]


def test_a_cancel_that_was_accepted_is_asked_about_until_its_end_is_seen(
    pack: Any, used: Path, ledger: Ledger, miner: FakeXalora
) -> None:
    accepted(ledger, range(1, 2))
    ledger.canceled("task-1")
    known(miner, range(1, 2), "canceled")
    assert not ledger.find("task-1").is_final
    asyncio.run(pack.part("nodes.editor_api.tasks").refresh(used))
    assert ledger.find("task-1").is_final


def test_a_task_that_its_server_no_longer_knows_is_no_problem_of_the_connection(
    pack: Any, used: Path, tasks: Any, ledger: Ledger, miner: FakeXalora
) -> None:
    accepted(ledger, range(1, 3))
    known(miner, range(1, 2))
    refresh = pack.part("nodes.editor_api.tasks").refresh
    told = asyncio.run(refresh(used))
    assert told == {"asked": 1, "finished": 0, "problem": None}
    assert [task["doubt"] for task in tasks()["tasks"]] == ["unknown", None]
    assert tasks()["running"] == 1
    known(miner, range(2, 3))
    asyncio.run(refresh(used))
    assert [task["doubt"] for task in tasks()["tasks"]] == [None, None]


def test_a_refresh_tells_of_those_that_have_finished(pack: Any, used: Path, ledger: Ledger, miner: FakeXalora) -> None:
    accepted(ledger, range(1, 3))
    known(miner, range(1, 3))
    refresh = pack.part("nodes.editor_api.tasks").refresh
    assert asyncio.run(refresh(used)) == {"asked": 2, "finished": 0, "problem": None}
    known(miner, range(1, 2), "finished")
    assert asyncio.run(refresh(used)) == {"asked": 2, "finished": 2, "problem": None}
    assert asyncio.run(refresh(used)) == {"asked": 0, "finished": 0, "problem": None}


def test_what_hinders_a_refresh_is_said_in_words_of_the_editor(
    pack: Any, used: Path, ledger: Ledger, miner: FakeXalora, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(ledger, range(1, 2))
    monkeypatch.delenv("XALORA_API_KEY")
    miner.script("task_result_query", Answer({"message": "who is that"}, 401))
    problem = asyncio.run(pack.part("nodes.editor_api.tasks").refresh(used))["problem"]
    assert "This sequencer needs a key. Set the key in Settings → Xalora" in problem
    assert "`xalora " not in problem
