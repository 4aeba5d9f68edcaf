"""A real ComfyUI offloads to another real one through a sequencer and a miner, each version to each."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.support.cluster import KEY, SequencerProcess
from tests.support.comfyui_process import IS_SHORT, NONE_FOUND, ComfyUIProcess, found, version_of
from tests.support.comfyui_prompts import image, keep, node, save_video, show, text2video, upscale
from tests.support.cut_network import CutNetwork
from tests.support.pictures import png
from tests.support.processes import ROOT, poll
from tests.support.reference_package import installed_package, media_of, run_reference
from tests.support.videos import frames_of
from xalora_client.protocol.parameters import encode_data_uri

SHIPPED = ROOT / "xalora_client" / "workflows"
REMOTE_NODES = Path(__file__).with_name("remote_nodes")
WORKFLOWS = sorted(Path(__file__).with_name("workflows").glob("*.json"))
UPSCALE_MODEL = "tiny.safetensors"


def write_upscale_model(path: Path) -> None:
    """A tiny network of Real-ESRGAN's compact kind, 2x, with weights of a seed."""
    made = torch.Generator().manual_seed(7)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=made) * 0.05

    shapes = {"body.0": (4, 3), "body.2": (4, 4), "body.4": (12, 4)}
    weights = {f"{name}.weight": noise(*shape, 3, 3) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": noise(shape[0]) for name, shape in shapes.items()}
    weights |= {f"{name}.weight": noise(4).abs() for name in ("body.1", "body.3")}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)


def export(**nodes: dict[str, Any]) -> str:
    """A workflow file; ``title`` is taken from a node's own inputs."""
    return json.dumps(
        {name: each | {"_meta": {"title": each["inputs"].pop("title", name)}} for name, each in nodes.items()}
    )


def write_workflows(folder: Path) -> Path:
    """The shipped workflows that need no model, a real upscale model, a slow sampler, and one that fails."""
    shutil.copytree(SHIPPED / "small", folder)
    model = json.loads((SHIPPED / "ready" / "upscaler.json").read_text())
    (loader,) = [each for each in model.values() if each["class_type"] == "UpscaleModelLoader"]
    loader["inputs"]["model_name"] = UPSCALE_MODEL
    (folder / "upscaler.model.json").write_text(json.dumps(model))
    picture = node("EmptyImage", width=64, height=48, batch_size=1, color=255)
    steps = node("TestSteps", image=["picture", 0], steps=4, seconds=0.1, noise_seed=0,
                 title="Slow sampler input:steps input:seconds input:noise_seed")  # fmt: skip
    save = node("SaveImage", images=["last", 0], filename_prefix="slow")
    (folder / "txt2img.slow.json").write_text(export(picture=picture, last=steps, save=save))
    fail = node("TestBreak", image=["picture", 0], message="no", title="The broken one input:message")
    picture = node("EmptyImage", width=64, height=48, batch_size=1, color=255)
    save = node("SaveImage", images=["last", 0], filename_prefix="broken")
    (folder / "txt2img.broken.json").write_text(export(picture=picture, last=fail, save=save))
    blue = node("EmptyImage", width=64, height=48, batch_size=1, color=255, title="input:batch_size")
    red = node("EmptyImage", width=64, height=48, batch_size=1, color=255 << 16)
    both = node("ImageBatch", image1=["blue", 0], image2=["red", 0])
    for name, saver in {"batch": "SaveImage", "preview": "PreviewImage"}.items():
        prefix = {"filename_prefix": name} if name == "batch" else {}
        save = node(saver, images=["both", 0], title="output", **prefix)
        made = {each: json.loads(json.dumps(of)) for each, of in {"blue": blue, "red": red, "both": both}.items()}
        (folder / f"txt2img.{name}.json").write_text(export(**made, save=save))
    return folder


@pytest.fixture(
    scope="session", params=found() or [None], ids=lambda source: f"to {version_of(source)}" if source else "none"
)
def remote_source(source: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of the miner's ComfyUI."""
    if request.param is None:
        pytest.skip(NONE_FOUND)
    if IS_SHORT and source == request.param and len(found()) > 1:
        pytest.skip("the short form of the tests offloads to the other version only")
    return Path(request.param)


@pytest.fixture(scope="session")
def remote(remote_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """The miner's ComfyUI: without the pack, with the upscale model."""
    base = tmp_path_factory.mktemp("remote")
    shutil.copytree(REMOTE_NODES, base / "custom_nodes" / "remote_nodes")
    write_upscale_model(base / "models" / "upscale_models" / UPSCALE_MODEL)
    comfy = ComfyUIProcess(remote_source, base, "--preview-method", "auto")
    try:
        yield comfy.boot()
    finally:
        comfy.stop()


@pytest.fixture(scope="session")
def sequencer_of_remote(remote: ComfyUIProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SequencerProcess]:
    """``xalora sequencer --comfyui``: one command beside that ComfyUI."""
    folder = tmp_path_factory.mktemp("sequencer")
    workflows = write_workflows(folder / "workflows")
    process = SequencerProcess(folder, "--comfyui", remote.url, "--workflows", workflows)
    process.said(r"Xalora miner .* ready")
    yield process
    process.close()


@pytest.fixture
def offloading(server: ComfyUIProcess, sequencer_of_remote: SequencerProcess) -> Iterator[ComfyUIProcess]:
    """The artist's ComfyUI, with that sequencer as its own."""
    server.use(sequencer_of_remote.url, XALORA_API_KEY=KEY)
    yield server
    server.check_alive()
    server.settle()


def eight_bits(file: Path) -> np.ndarray:
    """A kept IMAGE in 8 bits."""
    return np.rint(np.load(file) * 255).astype(np.uint8)


def test_a_batch_is_enlarged_as_by_comfyui_itself(offloading: ComfyUIProcess, remote: ComfyUIProcess) -> None:
    pictures = image(batch=6, height=40, width=56, seed=time.time_ns() % 4096)
    here = {"pictures": pictures, "large": upscale(["pictures", 0]), "kept": keep(["large", 0])}
    there = {
        "pictures": pictures,
        "large": node("ImageScaleBy", image=["pictures", 0], upscale_method="lanczos", scale_by=2.0),
        "kept": keep(["large", 0]),
    }
    (offloaded,), (local,) = (offloading.run(prompt).ok().files("kept") for prompt in (here, there))
    assert np.load(offloaded).shape == (6, 80, 112, 3)
    assert np.array_equal(eight_bits(offloaded), eight_bits(local))


@pytest.mark.parametrize("workflow", ["batch", "preview"])
def test_all_pictures_of_a_batch_come_back(offloading: ComfyUIProcess, remote: ComfyUIProcess, workflow: str) -> None:
    asked = node("XaloraRunWorkflow", task_type="txt2img", workflow_id=workflow, parameters='{"batch_size": 2}')
    run = offloading.run({"run": asked, "kept": keep(["run", 0]), "id": show(["run", 2])}).ok()
    (kept,) = run.files("kept")
    colors = [tuple(picture[0, 0]) for picture in eight_bits(kept)]
    assert colors == [(0, 0, 255), (0, 0, 255), (255, 0, 0)]
    (task_id,) = run.output("id")["values"]
    collected = offloading.post(f"/xalora/tasks/{task_id}/collect", {}).json()
    names = [view["filename"] for view in collected["views"]]
    assert (len(names), len(set(names)), collected["view"]) == (3, 2, collected["views"][0])


def test_a_real_upscale_model_gives_what_it_gives_there(offloading: ComfyUIProcess, remote: ComfyUIProcess) -> None:
    picture = np.random.default_rng(5).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    Image.fromarray(picture).save(remote.base / "input" / "small.png")
    direct = remote.run(
        {
            "picture": node("LoadImage", image="small.png"),
            "model": node("UpscaleModelLoader", model_name=UPSCALE_MODEL),
            "large": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["picture", 0]),
            "save": node("SaveImage", images=["large", 0], filename_prefix="direct"),
        }
    ).ok()
    parameters = json.dumps({"image": encode_data_uri((remote.base / "input" / "small.png").read_bytes(), "image/png")})
    run = node("XaloraRunWorkflow", task_type="upscaler", workflow_id="model", parameters=parameters)
    (offloaded,) = offloading.run({"run": run, "kept": keep(["run", 0])}).ok().files("kept")
    expected = np.asarray(Image.open(direct.files("save")[0]))
    assert expected.shape == (48, 64, 3)
    assert np.array_equal(eight_bits(offloaded)[0], expected)


def test_a_video_arrives_with_its_frames(offloading: ComfyUIProcess, remote: ComfyUIProcess) -> None:
    run = offloading.run(
        {
            "make": text2video("a lantern", width=96, height=64, length=9, fps=12, seed=int(time.time())),
            "save": save_video(["make", 1]),
            "keep": keep(["make", 0]),
        }
    ).ok()
    assert np.load(run.files("keep")[0]).shape == (9, 64, 96, 3)
    assert frames_of(run.files("save")[0]) == (9, (96, 64), 12.0)


def test_a_failure_names_the_remote_node(offloading: ComfyUIProcess, remote: ComfyUIProcess) -> None:
    parameters = json.dumps({"message": "the kiln is cold"})
    run = node("XaloraRunWorkflow", task_type="txt2img", workflow_id="broken", parameters=parameters)
    failed = offloading.run({"run": run, "show": show(["run", 2])})
    assert failed.end == "execution_error"
    assert "the kiln is cold" in failed.error["exception_message"]
    assert "The broken one" in failed.error["exception_message"]


def test_the_example_workflows_run_unchanged(offloading: ComfyUIProcess, remote: ComfyUIProcess) -> None:
    assert len(WORKFLOWS) >= 5
    for number, file in enumerate(WORKFLOWS):
        prompt = json.loads(file.read_text())
        for each in prompt.values():
            if "seed" in each["inputs"]:
                each["inputs"]["seed"] = number
            if each["class_type"] == "LoadImage":
                Image.new("RGB", (40, 30), (number, 90, 30)).save(offloading.base / "input" / each["inputs"]["image"])
        run = offloading.run(prompt, patience=240).ok()
        assert run.history["status"]["status_str"] == "success", file.name


def test_the_reference_package_completes_its_three_kinds(
    sequencer_of_remote: SequencerProcess, remote: ComfyUIProcess, pytestconfig: Any, tmp_path_factory: Any
) -> None:
    package = installed_package(pytestconfig, tmp_path_factory)
    video = {"prompt": "a rabbit", "workflow_id": "1", "width": 64, "height": 48, "length": 5, "fps": 12, "seed": 1,
             "steps": 3}  # fmt: skip
    still = {"prompt": "a rabbit", "lora_name": "soft", "workflow_id": "3", "width": 64, "height": 96, "steps": 4}
    picture = f"data:image/png;base64,{base64.b64encode(png(30, 20)).decode()}"
    made = run_reference(
        package,
        sequencer_of_remote,
        [["make", "text2video", video]],
        [["make", "flux", still]],
        [["make", "upscale", {"image_url": picture}]],
        apiKey=KEY,
    )
    kind, content = media_of(made[0][0])
    with av.open(content) as file:
        assert kind == "video/mp4"
        assert sum(1 for _ in file.decode(file.streams.video[0])) == 5
    assert Image.open(media_of(made[1][0])[1]).size == (64, 96)
    assert Image.open(media_of(made[2][0])[1]).size == (60, 40)


def slow(steps: int, seconds: float, **more: Any) -> dict[str, Any]:
    """A remote sampler of so many steps."""
    parameters = json.dumps({"steps": steps, "seconds": seconds, "noise_seed": time.monotonic_ns() % 2**32} | more)
    run = node("XaloraRunWorkflow", task_type="txt2img", workflow_id="slow", parameters=parameters)
    return {"run": run, "show": show(["run", 2])}


def test_cancel_stops_the_remote_sampler(offloading: ComfyUIProcess, remote: ComfyUIProcess, figure: Any) -> None:
    run = offloading.queue(slow(steps=600, seconds=0.1))
    poll(lambda: remote.get("/queue").json()["queue_running"], what="the remote sampler runs")
    time.sleep(0.5)
    began = offloading.interrupt()
    poll(lambda: not remote.get("/queue").json()["queue_running"], what="the remote sampler stopped")
    took = time.time() - began
    figure(f"Cancel: the miner's ComfyUI was idle after {took:.2f} s")
    assert took < 6  # On a busy machine; the figure says how it is on this one.
    assert run.wait().end == "execution_interrupted"


def test_the_remote_sampler_shows_its_progress_and_previews_here(
    offloading: ComfyUIProcess, remote: ComfyUIProcess
) -> None:
    run = offloading.run(slow(steps=8, seconds=0.6)).ok()
    values = [event.data["value"] for event in run.events("progress") if event.data.get("max") == 8]
    assert values, "the node's bar is the remote sampler's"
    assert values == sorted(values)


def test_offloading_takes_few_requests(
    offloading: ComfyUIProcess, remote: ComfyUIProcess, sequencer_of_remote: SequencerProcess
) -> None:
    """Nobody asks while nothing changes. ``benchmarks/offload.py`` says how long it takes."""
    network = CutNetwork(sequencer_of_remote.url)
    try:
        offloading.use(network.url, XALORA_API_KEY=KEY)
        began = time.monotonic()
        offloading.run(slow(steps=40, seconds=0.05)).ok()
        took = time.monotonic() - began
    finally:
        network.close()
    asked = network.passed
    assert asked["POST /task_create"] == 1
    # Progress is a change at most twice a second; besides there are the beginning and the end.
    assert 2 <= asked.pop("POST /task_result_query") <= 4 + 2 * took
    assert sorted(asked.values()) == [1, 1], asked  # The create and the download.


def test_a_comfyui_that_would_wait_for_its_own_miner_fails_at_once(server: ComfyUIProcess, tmp_path: Path) -> None:
    """It is the artist's and the miner's at once. Once the prompt has failed, the miner runs the task."""
    workflows = write_workflows(tmp_path / "workflows")
    (workflows / "upscaler.model.json").unlink()
    process = SequencerProcess(tmp_path, "--comfyui", server.url, "--workflows", workflows)
    process.said(r"Xalora miner .* ready")
    server.use(process.url, XALORA_API_KEY=KEY)
    prompt = {"pictures": image(seed=11), "large": upscale(["pictures", 0]), "kept": keep(["large", 0])}
    try:
        failed, began = server.queue(prompt), time.monotonic()
        failed.wait()
        assert time.monotonic() - began < 30
        assert "The only miner for this task uses this ComfyUI" in failed.error["exception_message"]
        process.said("name another ComfyUI after --comfyui")
        process.said("task .*: done")
        server.run(prompt).ok()
    finally:
        process.close()
        server.settle()
