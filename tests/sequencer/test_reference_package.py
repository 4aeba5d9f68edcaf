"""The reference client, npm's heurist 0.0.43, works against the sandbox as it is: they speak one protocol."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import urllib.request

import av
import pytest
from pictures import png
from PIL import Image
from sandbox_process import SandboxProcess
from subject import KEY

PACKAGE, VERSION = "heurist", "0.0.43"
CONNECTION = {"apiKey": KEY}

SCRIPT = """
import Heurist, * as heurist from 'heurist';

const { connection, calls } = JSON.parse(process.env.CALLS);
const { workflow } = new Heurist(connection);
const kinds = {
  text2video: heurist.Text2VideoTask, upscale: heurist.UpscalerTask, flux: heurist.FluxLoraTask,
};
const operations = {
  make: (kind, options) => workflow.executeWorkflowAndWaitForResult(new kinds[kind](options), 60000, 1000),
  start: (kind, options) => workflow.executeWorkflow(new kinds[kind](options)),
  query: (id) => workflow.queryTaskResult(id),
  cancel: (id) => workflow.cancelTask(id),
  resource: (...given) => workflow.resourceRequest(...given),
};

async function outcome([operation, ...given]) {
  try {
    return { value: await operations[operation](...given) };
  } catch (error) {
    return { error: error.message, details: error.errorDetails };
  }
}
const steps = async (chain) => {
  const outcomes = [];
  for (const call of chain) {
    // "$0" stands for what the chain's first call gave.
    outcomes.push(await outcome(call.map((each) => (each === '$0' ? outcomes[0].value : each))));
  }
  return outcomes;
};
console.log(JSON.stringify(await Promise.all(calls.map(steps))));
"""


@pytest.fixture(scope="session")
def package(pytestconfig, tmp_path_factory):
    """A folder where the package can be imported; it is installed once and kept among pytest's cached things."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("there is no Node.js")
    cache = getattr(pytestconfig, "cache", None)
    folder = cache.mkdir(f"{PACKAGE}-{VERSION}") if cache else tmp_path_factory.mktemp(PACKAGE)
    installed = folder / "node_modules" / PACKAGE / "package.json"
    if not installed.exists() or json.loads(installed.read_text())["version"] != VERSION:
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"{PACKAGE}@{VERSION}"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not install the package within 120 s")
        if done.returncode:
            pytest.skip(f"npm cannot install the package: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.fixture(scope="module")
def slow_sandbox(tmp_path_factory):
    server = SandboxProcess(tmp_path_factory.mktemp("slow"), "--render-seconds", 3600)
    yield server
    server.close()


@pytest.fixture
def reference(package):
    """Run chains of calls side by side, and return what each call gave or threw."""

    def run(server, *chains, **connection):
        script = package / f"calls-{os.getpid()}.mjs"
        script.write_text(SCRIPT)
        given = {"connection": CONNECTION | {"workflowURL": server.url} | connection, "calls": chains}
        try:
            done = subprocess.run(
                ["node", script.name],
                cwd=package, env=os.environ | {"CALLS": json.dumps(given)}, capture_output=True, text=True, timeout=100,
            )  # fmt: skip
        finally:
            script.unlink()
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def media_of(outcome):
    result = outcome["value"]
    assert result["status"] == "finished", result
    with urllib.request.urlopen(result["result"], timeout=30) as answer:
        return answer.headers["content-type"], io.BytesIO(answer.read())


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
