"""From a create to the result, through a real sequencer and a miner."""

from __future__ import annotations

import base64
import copy
import io
import re

import pytest
from PIL import Image

from tests.support.fake_comfyui import SAVER, Plan, picture, until, workflow
from tests.support.farm import quick
from xalora_client.miner.comfyui import ComfyUI
from xalora_client.miner.sequencer_api import SequencerAPI


def data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def test_a_task_comes_back_with_its_file(farm):
    async def scenario(world):
        comfyui = await world.pair()
        assert world.ready == ["box"]
        task_id = await world.create(prompt="a fox", steps=2)
        assert await world.result(task_id) == picture("a fox")
        (prompt,) = comfyui.prompts.values()
        assert prompt["1"]["inputs"]["steps"] == 2
        assert (await world.task(task_id))["inference_latency"] >= 0
        await until(lambda: not comfyui.history)  # The miner's prompts do not fill ComfyUI's memory.

    farm(scenario)


def test_an_image_goes_along_as_a_temporary_file(farm):
    async def scenario(world):
        comfyui = await world.pair()
        for _ in range(2):
            await world.result(await world.create(image=data_uri(picture("the input"))))
        names = [prompt["3"]["inputs"]["image"] for prompt in comfyui.prompts.values()]
        assert re.fullmatch(r"xalora-[0-9a-f]{32}\.png \[temp\]", names[0])
        assert names[0] == names[1]  # The same image takes its space once.

    farm(scenario)


def test_an_error_of_the_workflow_is_final_and_names_the_node(farm):
    async def scenario(world):
        comfyui = await world.pair(plan=lambda inputs: Plan(error="out of memory"))
        answer = await world.ended(await world.create(prompt="a fox"))
        assert answer["status"] == "failed"
        for word in ("Node 1", "My sampler", "SimulatedSampler", "out of memory"):
            assert word in answer["msg"]
        assert "input:" not in answer["msg"]
        assert len(comfyui.posted) == 1

    farm(scenario)


def test_progress_and_preview_reach_the_consumer(farm):
    huge = io.BytesIO()
    Image.effect_noise((1600, 1200), 100).convert("RGB").save(huge, "PNG")

    async def scenario(world):
        comfyui = await world.pair(plan=lambda inputs: Plan(seconds=2, steps=20, preview=huge.getvalue()))
        task_id = await world.create(prompt="a fox")
        progress, preview = {}, ""
        await until(lambda: comfyui.running)
        revision = 0
        while not preview:
            answer = await world.ask("task_result_query", task_id=task_id, wait_seconds=1, after=revision)
            assert answer["status"] == "running", answer
            revision = answer["revision"]
            progress = answer.get("progress", {})
            preview = progress.get("preview", "")
        assert progress["maximum"] == 20
        assert 0 < progress["value"] <= 20
        assert progress["title"] == "My sampler"  # Without the words that bind.
        assert len(preview) <= 64 * 1024
        with Image.open(io.BytesIO(base64.b64decode(preview.partition(",")[2]))) as shown:
            assert (shown.format, shown.width / shown.height) == ("JPEG", 4 / 3)

    farm(scenario)


def test_a_cancel_stops_comfyui(farm):
    async def scenario(world):
        comfyui = await world.pair(plan=lambda inputs: Plan(seconds=60, steps=600))
        task_id = await world.create(prompt="a fox")
        await until(lambda: comfyui.running)
        await world.ask("task_cancel", task_id=task_id)
        await until(lambda: comfyui.interrupted, patience=5)
        await until(lambda: any("canceled" in line for line in world.lines))
        assert (await world.task(task_id))["status"] == "canceled"

    farm(scenario)


def test_the_timeout_stops_comfyui(farm):
    async def scenario(world):
        comfyui = await world.pair(plan=lambda inputs: Plan(seconds=60, steps=600))
        task_id = await world.create(prompt="a fox", timeout_seconds=1)
        assert (await world.ended(task_id))["status"] == "failed"
        await until(lambda: comfyui.interrupted)
        assert len(comfyui.posted) == 1

    farm(scenario)


def test_one_comfyui_gets_one_prompt_at_a_time(farm):
    async def scenario(world):
        comfyui = await world.pair(plan=lambda inputs: Plan(seconds=0.02))
        tasks = [await world.create(prompt=f"fox {number}") for number in range(8)]
        for number, task_id in enumerate(tasks):
            assert await world.result(task_id) == picture(f"fox {number}")
        assert comfyui.most_waiting == 1
        assert len(comfyui.finished) == 8

    farm(scenario)


def test_the_end_of_a_task_is_not_taken_for_its_loss(farm, monkeypatch):
    """With the task its lease ends, which the waiting heartbeat hears before all is done."""
    heartbeat, forget, stops = SequencerAPI.heartbeat, ComfyUI.forget, []

    async def noted(self, *more, **named):
        stops.append(await heartbeat(self, *more, **named))
        return stops[-1]

    async def late(self, prompt_id):
        await until(lambda: any(stops))
        await forget(self, prompt_id)

    monkeypatch.setattr(SequencerAPI, "heartbeat", noted)
    monkeypatch.setattr(ComfyUI, "forget", late)

    async def scenario(world):
        comfyui = await world.pair()
        await world.result(await world.create(prompt="a fox"))
        await until(lambda: not comfyui.history)
        assert any(stops)
        assert not [line for line in world.lines if "lost" in line]

    farm(scenario)


def test_an_image_that_comfyui_never_takes_ends_the_task(farm):
    async def scenario(world):
        comfyui = await world.pair()
        comfyui.answers["/upload/image"] = [500] * 1000
        answer = await world.ended(await world.create(image=data_uri(picture("the input"))))
        assert answer["status"] == "failed"
        assert "3 attempts" in answer["msg"]
        assert "HTTP 500" in answer["msg"]

    farm(scenario)


def test_two_comfyuis_share_the_work(farm):
    async def scenario(world):
        first = await world.pair(plan=lambda inputs: Plan(seconds=0.1))
        second = await world.pair(plan=lambda inputs: Plan(seconds=0.1))
        assert world.ready == ["box", "box-2"]  # The name was taken.
        for task_id in [await world.create(prompt=f"fox {number}") for number in range(8)]:
            await world.result(task_id)
        assert len(first.finished) >= 3
        assert len(second.finished) >= 3

    farm(scenario)


def test_a_result_that_is_no_media_is_a_failure(farm):
    async def scenario(world):
        await world.pair(plan=lambda inputs: Plan(content=b"not a picture"))
        answer = await world.ended(await world.create(prompt="a fox"))
        assert answer["status"] == "failed"
        assert "refused" in answer["msg"]

    farm(scenario)


def test_keys_and_prompts_are_not_logged(farm):
    async def scenario(world):
        await world.pair(plan=lambda inputs: Plan(error=f"cannot read {inputs['text']}"))
        answer = await world.ended(await world.create(prompt="a very secret fox"))
        assert "secret" in answer["msg"]  # The consumer may know.
        assert world.lines
        assert not [line for line in world.lines if "secret" in line or "miner-key" in line]

    farm(scenario)


def test_the_workflows_of_the_sequencer_are_used_where_they_are_accepted(farm, tmp_path):
    async def scenario(world):
        comfyui = await world.comfyui()
        world.miner(comfyui.url, workflows=None)
        await until(lambda: world.running.done())  # The project's own need nodes that are not there.
        error = world.running.exception()
        assert "none of the workflows" in str(error)
        folder = world.workflows({"txt2img.3.json": workflow()})
        await world.end(world.serving)
        world.options = type(world.options)(**vars(world.options) | {"workflows": folder})
        await world.start_sequencer()
        world.tasks.remove(world.running)
        world.miner(comfyui.url, workflows=None)
        await until(lambda: world.running.done())
        assert "sends workflow files of its own" in str(world.running.exception())
        world.tasks.remove(world.running)
        world.miner(comfyui.url, workflows=None, accepts_workflows=True)
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")

    farm(scenario)


@pytest.mark.parametrize("fault", [404, 403, 500, 503, "empty", "cut", "drop"])
@pytest.mark.parametrize("times", [2, 99])
def test_a_file_that_is_not_served_is_fetched_again_and_not_made_again(farm, fault, times):
    async def scenario(world):
        box = await world.pair()
        box.answers["/view"] = [fault] * times
        ended = await world.ended(await world.create(prompt="a fox"))
        assert len(box.posted) == 1
        if times == 2:
            assert ended["status"] == "finished"
            return
        assert ended["status"] == "failed"
        assert f"{box.posted[0]}_00001_.png cannot be fetched" in ended["msg"]
        assert ended["msg"].startswith("Node 2 Save Image")
        assert len(box.answers["/view"]) > 90
        box.answers.clear()
        assert await world.result(await world.create(prompt="another")) == picture("another")

    farm(scenario)


@pytest.mark.parametrize(
    "files",
    [
        {"caption.txt": b"a fox"}, {"caption.json": b'{"text": "a fox"}', "more": b"\0" * 9000}, {"empty.txt": b""},
        {"caption.png": b"a fox"},
    ],
)  # fmt: skip
def test_the_first_file_that_is_a_picture_or_video_is_the_result(farm, files):
    async def scenario(world):
        await world.pair(plan=lambda inputs: Plan(files=files))
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")

    farm(scenario)


def test_a_picture_that_is_not_served_is_named_although_its_caption_is(farm):
    async def scenario(world):
        box = await world.pair(plan=lambda inputs: Plan(files={"caption.txt": b"a fox"}, content=b""))
        ended = await world.ended(await world.create(prompt="a fox"))
        assert ended["status"] == "failed"
        assert ended["msg"].startswith(f"Node 2 Save Image: ComfyUI_{box.posted[0]}_00001_.png cannot be fetched")
        assert len(box.posted) == 1

    farm(scenario)


def test_a_saver_without_a_name_for_its_files_has_the_result(farm):
    async def scenario(world):
        box = await world.comfyui()
        box.object_info = copy.deepcopy(box.object_info)
        del box.object_info[SAVER]["input"]["required"]["filename_prefix"]
        nodes = workflow()
        del nodes["2"]["inputs"]["filename_prefix"]
        world.workflows({"txt2img.3.json": nodes})
        world.miner(box.url)
        assert await world.result(await world.create(prompt="a fox")) == picture("a fox")

    farm(scenario)


@pytest.mark.parametrize("query", ["token=s3cret%2B/x==", "s3cret", "a=1&token=s3cret%20+x&a=2"])
def test_the_query_of_a_comfyui_goes_along_and_is_not_shown(farm, query):
    async def scenario(world):
        box = await world.comfyui()
        world.miner(f"{box.url}/?{query}")
        assert await world.result(await world.create(image=data_uri(picture("the input")))) == picture("")
        asked = {target.partition("?")[0].partition("history")[0] for target in box.targets}
        assert asked >= {"/object_info", "/upload/image", "/prompt", "/queue", "/view", "/ws", "/"}
        assert [target for target in box.targets if query not in target] == []
        box.answers["/view"] = [404] * 99
        ended = await world.ended(await world.create(prompt="a fox"))
        await box.stop()
        await until(lambda: any("nobody listens" in line for line in world.lines))
        assert "s3cret" not in "".join([ended["msg"], *world.lines])

    farm(scenario)


def test_a_comfyui_that_ends_before_its_file_is_fetched_is_no_missing_file(farm):
    async def scenario(world):
        gone = await world.comfyui()
        gone.answers["/view"] = ["drop"] * 99
        world.miner(gone.url, timeouts=quick(first_delay=0.3, longest_delay=1.0))
        task_id = await world.create(prompt="a fox")
        await until(lambda: len(gone.answers["/view"]) < 99)
        await gone.stop()
        await world.pair()
        assert await world.result(task_id) == picture("a fox")

    farm(scenario)
