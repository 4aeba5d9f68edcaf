"""The reference client, npm's heurist 0.0.43, works against the sandbox as it is: they speak one protocol."""

from __future__ import annotations

import base64
from functools import partial

import av
import pytest
from PIL import Image

from tests.support.pictures import png
from tests.support.reference_package import installed_package, media_of, run_reference
from tests.support.sandbox_process import SandboxProcess


@pytest.fixture(scope="module")
def slow_sandbox(tmp_path_factory):
    server = SandboxProcess(tmp_path_factory.mktemp("slow"), "--render-seconds", 3600)
    yield server
    server.close()


@pytest.fixture(scope="session")
def package(pytestconfig, tmp_path_factory):
    """Where the package is installed."""
    return installed_package(pytestconfig, tmp_path_factory)


@pytest.fixture
def reference(package):
    """Run chains of calls side by side, and return what each call gave or threw."""
    return partial(run_reference, package)


def test_it_completes_every_kind_of_task(reference, sandbox):
    data_uri = f"data:image/png;base64,{base64.b64encode(png(30, 20)).decode()}"
    small = {
        "prompt": "a rabbit",
        "width": 64,
        "height": 48,
        "length": 5,
        "fps": 12,
        "seed": 1,
        "steps": 3,
        "quality": 90,
    }
    still = {"prompt": "a rabbit", "lora_name": "soft", "width": 64, "height": 96, "guidance": 3, "steps": 4}
    whole, video, flux, upscaled = reference(
        sandbox,
        [["make", "text2video", {"prompt": "a rabbit in the snow", "workflow_id": "1", "timeout_seconds": 50}]],
        [["make", "text2video", small]],
        [["make", "flux", still | {"workflow_id": "3", "job_id_prefix": "mine", "aspect_ratio": "custom"}]],
        [["make", "upscale", {"image_url": data_uri}]],
    )
    for outcomes, (width, height, frames, fps) in ((whole, (848, 480, 37, 24)), (video, (64, 48, 5, 12))):
        kind, content = media_of(outcomes[0])
        assert kind == "video/mp4"
        with av.open(content) as file:
            stream = file.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (width, height, fps)
            assert sum(1 for _ in file.decode(stream)) == frames
    kind, content = media_of(flux[0])
    assert (kind, Image.open(content).size) == ("image/jpeg", (64, 96))
    kind, content = media_of(upscaled[0])
    assert (kind, Image.open(content).size) == ("image/png", (60, 40))
    assert whole[0]["value"]["workflow_id"] == "1"
    assert whole[0]["value"]["timeout_seconds"] == 50
    # What the sandbox made is fetched by its own URL, as a miner would.
    made_before = flux[0]["value"]["result"]
    [[again]] = reference(sandbox, [["make", "upscale", {"image_url": made_before}]])
    assert Image.open(media_of(again)[1]).size == (128, 192)


def test_it_queries_and_cancels(reference, slow_sandbox):
    [[started, before, canceled, after]] = reference(
        slow_sandbox,
        [["start", "text2video", {"prompt": "a rabbit"}], ["query", "$0"], ["cancel", "$0"], ["query", "$0"]],
    )
    task_id = started["value"]
    assert before["value"]["task_id"] == task_id
    assert before["value"]["status"] in ("waiting", "running")
    assert before["value"]["task_details"] == {"parameters": {"prompt": "a rabbit"}}
    assert canceled["value"] == {"task_id": task_id, "msg": "canceled"}
    assert after["value"]["status"] == "canceled"


def test_it_understands_refusals(reference, sandbox):
    [[unknown], [bad], [failed], [miner]] = reference(
        sandbox,
        [["query", "no-such-task"]],
        [["start", "text2video", {"prompt": ""}]],
        [["make", "upscale", {"image_url": "data:image/png;base64,AAAA"}]],
        [["resource", "consumer-1", "1", "txt2vid"]],
    )
    assert unknown["details"] == {"status_code": 404, "error_type": "client_error", "message": "there is no such task"}
    assert bad["details"]["status_code"] == 400
    assert "prompt" in bad["error"]
    assert (failed["value"]["status"], "decoded" in failed["value"]["msg"]) == ("failed", True)
    assert miner["value"] == "sandbox"
    [[keyless]] = reference(sandbox, [["query", "x"]], apiKey="consumer-1#")
    assert keyless["details"]["status_code"] == 401
