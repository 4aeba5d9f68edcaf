"""What the editor's error dialog says: what happened, to which task, what to do now."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from tests.support.fake_sequencer import Answer, status
from tests.support.fake_xalora import FakeXalora
from tests.support.sandbox_process import SandboxProcess

VIDEO = {"prompt": "a rabbit", "width": 64, "height": 48, "length": 5, "steps": 1}
FLUX = {"prompt": "a gecko", "lora_name": "gecko.safetensors"}


@pytest.mark.parametrize(
    ("node_id", "values", "message"),
    [
        ("XaloraText2Video", VIDEO | {"width": 8}, "^width is 8, and must be from 16 to 4,096.$"),
        ("XaloraText2Video", VIDEO | {"width": 72}, "^width cannot be 72. Use 64 / 80.$"),
        ("XaloraText2Video", VIDEO | {"length": 6}, "^length cannot be 6. Use 5 / 9.$"),
        ("XaloraText2Video", VIDEO | {"prompt": "  \n"}, "^Write a prompt first.$"),
        (
            "XaloraText2Video",
            VIDEO | {"seed": 2**53},
            "^seed is 9007199254740992, and must be from 0 to 9,007,199,254,740,991.$",
        ),
        ("XaloraFluxLora", FLUX | {"lora_name": ""}, "^Fill in lora_name first.$"),
        ("XaloraFluxLora", FLUX | {"guidance": float("nan")}, "^guidance is nan, and must be from 0 to 100.$"),
        ("XaloraRunWorkflow", {"task_type": ""}, "^Fill in task_type first.$"),
        (
            "XaloraRunWorkflow",
            {"task_type": "x", "parameters": "prompt: a"},
            "^parameters must be a JSON object.*'prompt: a'",
        ),
        ("XaloraRunWorkflow", {"task_type": "x", "parameters": "[1, 2]"}, "parameters must be an object of JSON"),
        ("XaloraRunWorkflow", {"task_type": "x", "parameters": '{"a": NaN}'}, "parameters must be an object of JSON"),
        ("XaloraRunWorkflow", {"task_type": "x", "parameters": "[" * 100_000}, "parameters must be a JSON object"),
    ],
)
def test_bad_values_are_refused_before_anything_is_sent(
    pack: Any, miner: FakeXalora, node_id: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(pack.error("InvalidParameterError"), match=message):
        pack.run(node_id, **values)
    assert miner.seen == []


@pytest.mark.parametrize("node_id", ["XaloraTaskStatus", "XaloraCancelTask"])
def test_a_wrong_id_is_a_clear_error(pack: Any, sandbox: SandboxProcess, node_id: str) -> None:
    with pytest.raises(pack.error("NotFoundError")) as caught:
        pack.run(node_id, task_id="no-such-task")
    assert str(caught.value) == (
        "The server cannot find what was asked for. Check the task id and the server in Settings → Xalora. "
        "(The server answered 404: there is no such task · task no-such-task)."
    )


@pytest.mark.parametrize("node_id", ["XaloraTaskStatus", "XaloraCancelTask"])
@pytest.mark.parametrize("task_id", ["", "  \n"])
def test_no_id_is_refused_before_anything_is_sent(pack: Any, miner: FakeXalora, node_id: str, task_id: str) -> None:
    with pytest.raises(pack.error("InvalidParameterError"), match="Fill in task_id first"):
        pack.run(node_id, task_id=task_id)
    assert miner.seen == []


def test_a_missing_key_says_how_to_set_one_and_how_to_try(
    pack: Any, miner: FakeXalora, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XALORA_API_KEY")
    monkeypatch.delenv("XALORA_WORKFLOW_URL")
    with pytest.raises(pack.error("ConfigurationError")) as caught:
        pack.run("XaloraText2Video", **VIDEO)
    said = str(caught.value)
    assert said == (
        "No API key is set. Set your key in Settings → Xalora; to try without an account, choose the sandbox there."
    )
    assert caught.value.remedy == "set-key"
    assert miner.seen == []


def test_a_sequencer_that_lets_everybody_in_needs_no_key(
    pack: Any, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XALORA_API_KEY")
    frames, *_ = pack.run("XaloraText2Video", **VIDEO)
    assert len(frames) == VIDEO["length"]


def test_a_sequencer_that_needs_a_key_says_so(pack: Any, miner: FakeXalora, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was created there, and nothing is sent again by itself."""
    monkeypatch.delenv("XALORA_API_KEY")
    miner.script("task_create", Answer({"message": "who is that"}, 401))
    with pytest.raises(pack.error("AuthenticationError"), match="This sequencer needs a key") as caught:
        pack.run("XaloraText2Video", **VIDEO)
    assert caught.value.remedy == "set-key"
    assert [seen.path for seen in miner.seen].count("/task_create") == 1


def test_a_failed_task_is_named_with_the_miners_words(pack: Any, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: status("failed", task_id="task-1", msg="out of memory")
    with pytest.raises(pack.error("TaskFailedError")) as caught:
        pack.run("XaloraText2Video", **VIDEO)
    assert str(caught.value) == (
        "The remote machine ran out of memory. Use a smaller size or fewer frames. This computer is not the reason. "
        "(The task failed: out of memory · task task-1)."
    )


@pytest.mark.parametrize(
    ("code", "name", "advice"),
    [(401, "AuthenticationError", "Check the key in Settings → Xalora."), (402, "PaymentRequiredError", "Top up")],
)
def test_a_refusal_says_what_to_do_and_hides_the_key(
    pack: Any, miner: FakeXalora, code: int, name: str, advice: str
) -> None:
    miner.script("task_create", lambda seen: Answer({"message": f"no: {seen.body['api_key']}"}, code))
    with pytest.raises(pack.error(name)) as caught:
        pack.run("XaloraText2Video", **VIDEO)
    assert f"The server answered {code}: no: ***" in str(caught.value)
    assert advice in str(caught.value)


def test_bytes_that_are_no_media_are_named_and_kept(pack: Any, miner: FakeXalora) -> None:
    miner.ends = lambda number, parameters: b"<html>not a video</html>"
    with pytest.raises(pack.error("DecodeError"), match="task-1") as caught:
        pack.run("XaloraText2Video", **VIDEO)
    assert caught.value.path.read_bytes() == b"<html>not a video</html>"


def test_a_local_timeout_loses_nothing(pack: Any, miner: FakeXalora, monkeypatch: pytest.MonkeyPatch) -> None:
    miner.ends = lambda number, parameters: status("running", task_id="task-1")
    *_, task_id = pack.run("XaloraText2Video", **VIDEO, wait=False)
    with pytest.raises(pack.error("TaskTimeoutError"), match=r"continues remotely: run again.*task-1"):
        pack.run("XaloraTaskStatus", task_id=task_id, wait=True, timeout_seconds=1)
    assert miner.cancelled == {}


def test_the_packs_errors_pickle(pack):
    error = pack.error("NotFoundError")("gone", status_code=404, task_id="t1")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.status_code) == (type(error), str(error), 404)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "GPU out of memory",
        "Allocation on device",
        "This error means you ran out of memory on your GPU.",
        "Workflow execution failed due to insufficient memory (OOM).",
        "Unauthorized: Please login first to use this node.",
        "Payment Required: Please add credits to your account to use this node.",
        "Field 'prompt' cannot be empty.",
        "Generated video rejected by content moderation.",
    ],
)
def test_no_editor_takes_what_a_miner_says_for_its_own(pack: Any, miner: FakeXalora, said: str) -> None:
    """Editors know these sentences, and then speak of this machine or of an account at comfy.org."""
    miner.ends = lambda number, parameters: status("failed", msg=f"Node 3 Sampler input:seed (Foo): {said}")
    with pytest.raises(pack.error("TaskFailedError")) as caught:
        pack.run("XaloraText2Video", **VIDEO)
    assert said not in str(caught.value)
    assert re.sub(r"\W+", " ", said).strip() in re.sub(r"\W+", " ", str(caught.value))
    event = pack.part("nodes.error_messages").for_extension(caught.value)
    assert not any(said in value for value in event["params"].values())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Node 3 Sampler input:prompt=text input:seed output (BarPainter): it broke", "Sampler: it broke"),
        ("Node 5.0.1 input:prompt (KSampler): it broke (badly)", "KSampler: it broke (badly)"),
        ("Node 7 Save Video: no file", "Save Video: no file"),
        ("no miner came in time", "no miner came in time"),
    ],
)
def test_a_remote_node_is_called_by_its_title(pack: Any, miner: FakeXalora, said: str, words: str) -> None:
    miner.ends = lambda number, parameters: status("failed", msg=said)
    with pytest.raises(
        pack.error("TaskFailedError"), match=f"^The task failed: {re.escape(words)}\\. Change the inputs"
    ):
        pack.run("XaloraText2Video", **VIDEO)
