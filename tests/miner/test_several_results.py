"""A workflow whose output makes several files: all pictures come back, and what does not is said."""

from __future__ import annotations

import pytest

from tests.support.fake_comfyui import Plan, picture
from xalora_client.protocol import miner as wire
from xalora_client.protocol.answers import WorkflowTaskResult
from xalora_client.sequencer.api import files

BATCH = {"1.png": picture("one"), "2.png": picture("two", (8, 8)), "3.png": picture("one")}
MOVIE = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
WITH_CAPTION = {"0.txt": b"a caption", **BATCH}


async def results(world, task_id):
    """The bytes of all results of a task that must end well, and what is said of files that were left behind."""
    answer = await world.ended(task_id)
    assert answer["status"] == "finished", (answer, world.lines)
    read = WorkflowTaskResult.from_answer(answer, task_id=task_id, server=world.url)
    found = []
    for url in read.media_urls:
        async with world.session.get(url) as media:
            found.append(await media.read())
    return found, read.left_behind


@pytest.mark.parametrize(
    ("made", "left_behind"),
    [
        (BATCH, None),
        (WITH_CAPTION, "5 files were made; the first 4 are the result, the others are only on the miner"),
        ({**BATCH, "4.mp4": MOVIE}, "5 files were made; the first 4 are the result, the others are only on the miner"),
        ({f"{n}.png": picture(str(n)) for n in range(99)},
         "100 files were made; the first 64 are the result, the others are only on the miner"),
    ],
    ids=["batch", "with a caption", "with a video", "too many"],
)  # fmt: skip
def test_all_pictures_of_the_output_come_back(farm, made, left_behind):
    async def scenario(world):
        box = await world.pair(plan=lambda inputs: Plan(files=made))
        found, said = await results(world, await world.create(prompt="a fox"))
        pictures = [content for name, content in made.items() if name.endswith(".png")]
        assert found == [*pictures, picture("a fox")][:64]
        assert said == left_behind
        assert len(box.posted) == 1

    farm(scenario)


def test_of_a_video_it_is_the_first_as_before(farm):
    async def scenario(world):
        await world.pair(plan=lambda inputs: Plan(files={"1.mp4": MOVIE, **BATCH}))
        found, said = await results(world, await world.create(prompt="a fox"))
        assert found == [MOVIE]
        assert said == "5 files were made; the first is the result, the others are only on the miner"

    farm(scenario)


@pytest.mark.parametrize("most", [None, 1, 0, -5, 2, 10**9])
def test_a_sequencer_gets_as_many_as_it_says(farm, monkeypatch, most):
    """One of an earlier version says nothing of it, and refuses a second."""
    to_json = wire.Assignment.to_json

    def said(assignment):
        answer = {name: value for name, value in to_json(assignment).items() if name != "most_results"}
        return answer if most is None else answer | {"most_results": most}

    monkeypatch.setattr(wire.Assignment, "to_json", said)
    monkeypatch.setattr(files, "MOST_RESULTS", {None: 1, 2: 2}.get(most, 64))

    async def scenario(world):
        await world.pair(plan=lambda inputs: Plan(files=BATCH))
        found, said = await results(world, await world.create(prompt="a fox"))
        assert found == [*BATCH.values(), picture("a fox")][: 4 if most == 10**9 else most if most == 2 else 1]
        assert (said is None) == (len(found) == 4)

    farm(scenario)


@pytest.mark.parametrize("fault", ["not served", "too large"])
def test_the_rest_comes_back_where_one_cannot(farm, monkeypatch, fault):
    if fault == "too large":
        monkeypatch.setattr(files, "LARGEST_RESULT", sum(map(len, set(BATCH.values()))) + 10)

    async def scenario(world):
        empty = {"2b.png": b""} if fault == "not served" else {}
        box = await world.pair(plan=lambda inputs: Plan(files=BATCH | empty, content=picture("four", (64, 64))))
        found, said = await results(world, await world.create(prompt="a fox"))
        assert found == [*BATCH.values(), *([picture("four", (64, 64))] if empty else [])]
        assert said.startswith(f"{5 if empty else 4} files were made; the first {len(found)} are the result")
        assert len(box.posted) == 1

    farm(scenario)
