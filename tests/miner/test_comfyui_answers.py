"""What ComfyUI says, as the miner understands it."""

from __future__ import annotations

import base64
import io
import json
import struct

import pytest
from PIL import Image

from tests.support.pictures import encoded, png
from xalora_client.miner.errors import Requeued, WorkflowFailure
from xalora_client.miner.progress import Progress, small_jpeg
from xalora_client.miner.prompt import Finished, dropped, output_files, read_outcome, rejection
from xalora_client.miner.task import submit_fields
from xalora_client.protocol.miner import LARGEST_PREVIEW

TITLES = {"5": "The sampler", "9": "Save Video"}


def told(*messages: tuple[str, dict], prompt_id: str = "p") -> Progress:
    progress = Progress()
    for kind, data in messages:
        progress.read_text(json.dumps({"type": kind, "data": data | {"prompt_id": prompt_id}}), "p")
    return progress


def test_progress_has_value_maximum_and_title():
    progress = told(("executing", {"node": "5"}), ("progress", {"node": "5", "value": 3, "max": 20}))
    assert progress.to_json(TITLES) == {"value": 3, "maximum": 20, "node": "5", "title": "The sampler"}


def test_of_several_nodes_the_running_one_counts():
    states = {
        "4": {"state": "finished", "node_id": "4", "value": 1, "max": 1},
        "5.0.2": {"state": "running", "node_id": "5.0.2", "display_node_id": "5", "value": 2, "max": 9},
    }
    progress = told(("progress_state", {"nodes": states}))
    assert progress.to_json(TITLES) == {"value": 2, "maximum": 9, "node": "5", "title": "The sampler"}


@pytest.mark.parametrize("kind", ["execution_success", "execution_error", "execution_interrupted"])
def test_an_end_is_an_end(kind):
    assert told((kind, {})).ended


def test_other_prompts_say_nothing_about_this_one():
    assert (
        told(("progress", {"node": "5", "value": 3, "max": 20}), ("execution_success", {}), prompt_id="q") == Progress()
    )


@pytest.mark.parametrize("text", ["", "[]", "null", '{"type": "progress"}', '{"type": "status", "data": 5}'])
def test_what_is_not_understood_is_passed_over(text):
    assert not Progress().read_text(text, "p")


def test_a_preview_comes_with_or_without_metadata():
    plain, described = Progress(), Progress()
    assert plain.read_bytes(struct.pack(">II", 1, 1) + b"picture")
    metadata = json.dumps({"image_type": "image/jpeg"}).encode()
    assert described.read_bytes(struct.pack(">II", 4, len(metadata)) + metadata + b"picture")
    assert plain.preview == described.preview == b"picture"


@pytest.mark.parametrize(
    "message", [b"", b"\0" * 7, struct.pack(">II", 3, 1) + b"text", struct.pack(">II", 4, 99) + b"x"]
)
def test_other_binary_messages_are_no_preview(message):
    assert not Progress().read_bytes(message)


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.effect_noise((2000, 1500), 120).convert("RGB"), "JPEG", quality=95),
        encoded(Image.effect_noise((400, 300), 120).convert("RGB")),
        png(color=(1, 2, 3, 4)),
    ],
    ids=["large JPEG", "PNG", "transparent PNG"],
)
def test_a_preview_becomes_a_small_jpeg(content):
    uri = small_jpeg(content)
    assert uri is not None
    small = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    assert len(small) <= LARGEST_PREVIEW
    with Image.open(io.BytesIO(small)) as ours, Image.open(io.BytesIO(content)) as theirs:
        assert ours.format == "JPEG"
        assert ours.width / ours.height == pytest.approx(theirs.width / theirs.height, rel=0.02)


def test_a_small_jpeg_stays_as_it_is():
    content = encoded(Image.new("RGB", (64, 64)), "JPEG")
    assert small_jpeg(content) == f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize("content", [b"", b"no picture", png()[:40]])
def test_a_broken_preview_is_left_out(content):
    assert small_jpeg(content) is None


def test_results_are_found_under_any_name_and_kept_ones_first():
    record = {
        "outputs": {
            "5": {"images": [{"filename": "other.png", "subfolder": "", "type": "output"}]},
            "9": {
                "text": ["a caption"],
                "animated": [True],
                "gifs": [
                    {"filename": "preview.mp4", "subfolder": "", "type": "temp"},
                    {"filename": "made.mp4", "subfolder": "videos", "type": "output"},
                ],
            },
        }
    }
    (made,), (preview,) = output_files(record, ["9"])
    assert (made["filename"], preview["filename"]) == ("made.mp4", "preview.mp4")
    assert made == {"filename": "made.mp4", "subfolder": "videos", "type": "output"}


def test_an_output_that_was_dropped_is_a_failure_and_another_is_not():
    answer = {
        "node_errors": {
            "5": {
                "class_type": "KSampler",
                "dependent_outputs": ["9"],
                "errors": [{"message": "Value not in list", "details": "sampler_name: 'x'"}],
            }
        }
    }
    failure = dropped(answer, TITLES, ["9"])
    assert str(failure) == "Node 5 The sampler (KSampler): Value not in list: sampler_name: 'x'"
    assert dropped(answer, TITLES, ["12"]) is None
    assert dropped({"node_errors": {}}, TITLES, ["9"]) is None


def test_a_refusal_without_nodes_has_comfyuis_words():
    answer = {"error": {"message": "Prompt has no outputs", "details": "Prompt has no outputs"}, "node_errors": {}}
    assert str(rejection(answer, TITLES)) == "Prompt has no outputs"


def test_how_a_prompt_ended():
    def record(kind: str, **data: str) -> dict:
        return {"status": {"status_str": "error", "messages": [["execution_start", {}], [kind, data]]}}

    def outcome(record: dict) -> object:
        return read_outcome(record, ["9"], TITLES)

    success = {"status": {"status_str": "success", "messages": []}}
    file = {"filename": "made.mp4", "subfolder": "", "type": "output"}
    assert outcome(success | {"outputs": {"9": {"images": [file]}}}) == Finished([[file]])
    without = outcome(success | {"outputs": {"9": {}}})
    assert isinstance(without, WorkflowFailure)
    assert str(without) == "Node 9 Save Video: The workflow ended without a file"
    assert outcome(record("execution_interrupted", node_id="5")) == Requeued("Somebody stopped the prompt in ComfyUI")
    broken = outcome(record("execution_error", node_id="5.0.1", node_type="VAE", exception_message="no memory\n"))
    assert isinstance(broken, WorkflowFailure)
    assert str(broken) == "Node 5.0.1 The sampler (VAE): no memory"


@pytest.mark.parametrize(
    ("kind", "message", "is_final"),
    [
        ("torch.OutOfMemoryError", "Allocation on device", False),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB", False),
        ("MemoryError", "", False),
        ("RuntimeError", "HIP out of memory", False),
        ("RuntimeError", "Allocation on device 0 would exceed allowed memory", False),
        ("ValueError", "the picture has no memory of it", True),
        (None, None, True),
    ],
)
def test_too_little_memory_is_the_miners_lack(kind, message, is_final):
    data = {"node_id": "5", "node_type": "VAE", "exception_type": kind, "exception_message": message}
    record = {"status": {"status_str": "error", "messages": [["execution_error", data]]}}
    outcome = read_outcome(record, ["9"], TITLES)
    assert isinstance(outcome, WorkflowFailure)
    assert outcome.is_final == is_final
    assert ("give_back" in submit_fields(outcome)) != is_final
    assert submit_fields(outcome)["error"]["node_id"] == "5"


@pytest.mark.parametrize("messages", [5, None, {}, [5, [], ["execution_error", 5], ["x"]], "x"])
def test_a_history_of_another_form_is_a_failure(messages):
    outcome = read_outcome({"status": {"status_str": "error", "messages": messages}}, ["9"], TITLES)
    assert str(outcome) == "ComfyUI gave no reason"
