"""The list of tasks in the editor: what has changed in the ledger, and which tasks the sequencer is asked about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger_steps import answer, claim, intent, run_to
from miner import Miner
from sequencer import status

from xalora_client.ledger import Ledger


@pytest.fixture
def used(pack: Any) -> Path:
    """The home that the pack uses."""
    return pack.part("nodes._settings").home()


@pytest.fixture
def ledger(used: Path, miner: Miner) -> Iterator[Ledger]:
    """The tasks of the miner's sequencer, an hour old: a new one may be unknown to its server for a moment."""
    with Ledger(used, miner.url, clock=lambda: time.time() - 3600) as ledger:
        yield ledger


def accepted(ledger: Ledger, numbers: range) -> None:
    """Tasks task-1, task-2, … that have an id."""
    for number in numbers:
        run_to(ledger, "waiting", f"task-{number}", asked_of(ledger, f"a rabbit {number}"))


def asked_of(ledger: Ledger, name: str) -> Any:
    return replace(intent(name), server=ledger.server)


def known(miner: Miner, numbers: range, state: str = "running") -> None:
    """Have the sequencer know these tasks."""
    miner.parameters.update({number: {} for number in numbers})
    miner.ends = lambda number, _: status(state, task_id=f"task-{number}")


def asked(miner: Miner) -> list[str]:
    return [seen.body["task_id"] for seen in miner.seen if seen.path == "/task_result_query"]


def test_tasks_that_end_are_told_however_many_are_newer(pack: Any, used: Path, ledger: Ledger) -> None:
    feed = pack.part("nodes._task_list").Feed()

    async def look() -> Any:
        await feed.follow(used)
        accepted(ledger, range(250))
        before = await feed.changes(used, feed.version)
        for number in range(250):
            ledger.observed(f"task-{number}", answer("finished", f"task-{number}"))
        ended = await feed.changes(used, before["version"])
        ledger.stored("task-0", "0" * 64, ".mp4", 5)
        return ended, await feed.changes(used, ended["version"])

    ended, stored = asyncio.run(look())
    assert ended["reload"] is False
    assert {task["task_id"] for task in ended["tasks"]} == {f"task-{number}" for number in range(250)}
    assert {task["state"] for task in ended["tasks"]} == {"finished"}
    assert [(task["task_id"], task["media_bytes"]) for task in stored["tasks"]] == [("task-0", 5)]


def test_whoever_missed_that_a_task_is_gone_needs_the_whole_list(pack: Any, used: Path, ledger: Ledger) -> None:
    feed = pack.part("nodes._task_list").Feed()

    async def look() -> Any:
        accepted(ledger, range(3))
        await feed.follow(used)
        before = feed.version
        ledger.forget("task-1")
        gone = await feed.changes(used, before)
        return gone, await feed.changes(used, gone["version"]), await feed.changes(used, 0)

    gone, after, long_ago = asyncio.run(look())
    assert [each["reload"] for each in (gone, after, long_ago)] == [True, False, True]


def test_every_open_task_gets_its_turn_and_the_oldest_first(
    pack: Any, used: Path, ledger: Ledger, miner: Miner
) -> None:
    actions = pack.part("nodes._task_actions")
    first, rest = range(1, actions.MOST_REFRESHED + 1), range(actions.MOST_REFRESHED + 1, 71)
    accepted(ledger, range(1, 71))
    # None of these can be asked about, and they are the newest.
    for number in range(60):
        claim(ledger, asked_of(ledger, f"not sent {number}"))
    with Ledger(used, "https://elsewhere.example") as other:
        accepted(other, range(100, 160))
    known(miner, range(1, 71))

    assert asyncio.run(actions.refresh(used)) == {"asked": len(first), "unknown": [], "problem": None}
    assert set(asked(miner)) == {f"task-{number}" for number in first}
    assert asyncio.run(actions.refresh(used))["asked"] == len(first)
    assert {f"task-{number}" for number in rest} <= set(asked(miner)[len(first) :])


def test_refreshes_at_the_same_time_are_one(pack: Any, used: Path, ledger: Ledger, miner: Miner) -> None:
    accepted(ledger, range(1, 4))
    known(miner, range(1, 4))

    async def both() -> Any:
        refresh = pack.part("nodes._task_actions").refresh
        return await asyncio.gather(refresh(used), refresh(used))

    one, other = asyncio.run(both())
    assert one == other == {"asked": 3, "unknown": [], "problem": None}
    assert len(asked(miner)) == 3


def test_a_cancel_that_was_accepted_is_asked_about_until_its_end_is_seen(
    pack: Any, used: Path, ledger: Ledger, miner: Miner
) -> None:
    accepted(ledger, range(1, 2))
    ledger.canceled("task-1")
    known(miner, range(1, 2), "canceled")
    assert not ledger.find("task-1").is_final
    asyncio.run(pack.part("nodes._task_actions").refresh(used))
    assert ledger.find("task-1").is_final


def test_a_task_that_its_server_no_longer_knows_is_no_problem_of_the_connection(
    pack: Any, used: Path, ledger: Ledger, miner: Miner
) -> None:
    accepted(ledger, range(1, 3))
    known(miner, range(1, 2))
    refresh = pack.part("nodes._task_actions").refresh
    told = asyncio.run(refresh(used))
    assert told == {"asked": 1, "unknown": [ledger.find("task-2").number], "problem": None}
    known(miner, range(2, 3))
    assert asyncio.run(refresh(used))["unknown"] == []


def test_what_hinders_a_refresh_is_said_in_words_of_the_editor(
    pack: Any, used: Path, ledger: Ledger, miner: Miner, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(ledger, range(1, 2))
    monkeypatch.delenv("XALORA_API_KEY")
    problem = asyncio.run(pack.part("nodes._task_actions").refresh(used))["problem"]
    assert "Settings → Xalora" in problem
    assert "`xalora " not in problem
