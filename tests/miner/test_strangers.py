"""What a hostile sequencer cannot do with a miner, and what the miner reports for the sequencer's rules."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fake_comfyui import until
from tests.support.farm import MINER_KEY
from xalora_client.miner.errors import OutcomeError, Requeued, WorkflowFailure
from xalora_client.miner.miner import find_capabilities, read_workflows
from xalora_client.miner.prompt import read_outcome
from xalora_client.miner.task import fetch_inputs, submit_fields
from xalora_client.protocol.miner import Assignment


@pytest.mark.parametrize(
    "value", ["secret.png", "a.png [output]", "../../etc/passwd", "/etc/passwd", "a.png [temp]", "http://a/b", "", 0]
)
def test_an_image_comes_as_bytes_or_not_at_all(value):
    """Its text could name any file of the miner's ComfyUI."""
    task = Assignment("t", "upscaler", None, {"image": value}, {}, "p", "l", None, "http://a/up")

    async def fetch():
        await fetch_inputs(task, {"image"}, None, None, None)

    with pytest.raises(OutcomeError) as raised:
        asyncio.run(fetch())
    assert "image must be an image that the sequencer has" in str(raised.value.outcome)


def history(**error):
    return {"status": {"status_str": "error", "messages": [["execution_error", {"node_id": "3", **error}]]}}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"exception_type": "torch.OutOfMemoryError", "exception_message": "Allocation on device"}, "unable"),
        ({"exception_type": "torch.cuda.OutOfMemoryError", "exception_message": ""}, "unable"),
        ({"exception_type": "RuntimeError", "exception_message": "CUDA error: out of memory"}, "unable"),
        ({"exception_type": "RuntimeError", "exception_message": "MPS backend out of memory"}, "unable"),
        ({"exception_type": "MemoryError", "exception_message": ""}, "unable"),
        ({"exception_type": "ValueError", "exception_message": "the mask has another size"}, None),
        ({"exception_type": None, "exception_message": None}, None),
    ],
)
def test_too_little_memory_is_no_fault_of_the_workflow(error, reason):
    fields = submit_fields(read_outcome(history(**error), ["9"], {}))
    assert fields.get("give_back") == reason
    assert fields["error"]["node_id"] == "3"


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Requeued("gone", has_died=True), "died"),
        (Requeued("gone"), "lost"),
        (Requeued("gone", is_attempt=False), "stopping"),
        (WorkflowFailure("no"), None),
        (WorkflowFailure("no", is_final=False), "unable"),
    ],
)
def test_the_reason_is_reported(outcome, reason):
    assert submit_fields(outcome).get("give_back") == reason


@pytest.mark.parametrize(
    "info", [[], {"KSampler": 5}, {"KSampler": {"input": 5}}, {"KSampler": {"input": {"required": [1]}}}]
)
def test_nonsense_about_nodes_leaves_workflows_out(info):
    lines = []
    assert find_capabilities(read_workflows(None, {}, lines.append), info, lines.append)[0] == {}
    assert all(line.startswith("left out: ") for line in lines)
    assert lines


def test_a_sequencer_that_turns_the_miner_away_later_does_not_end_it(farm):
    async def scenario(world):
        comfyui = await world.pair()
        await world.end(world.serving)
        world.options = type(world.options)(**vars(world.options) | {"miner_keys": ("another",)})
        await world.start_sequencer()
        await until(lambda: any("does not accept this miner" in line for line in world.lines))
        assert not world.running.done()
        await world.end(world.serving)
        world.options = type(world.options)(**vars(world.options) | {"miner_keys": (MINER_KEY,)})
        await world.start_sequencer()
        assert await world.result(await world.create(prompt="a fox"))
        assert comfyui.is_idle

    farm(scenario)
