"""A batch in a real ComfyUI, by a bucket, to a sequencer and a miner that get nothing but links."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.buckets import SECRET_KEY, Bucket, moto
from tests.support.comfyui_process import ComfyUIProcess, booted, install, skip_but_on_newest
from tests.support.comfyui_prompts import image, keep, node, save_image, upscale
from tests.support.processes import Command, poll

HELPER_NODES = Path(__file__).with_name("helper_nodes")
SMALL = Path(__file__).parents[2] / "xalora_client" / "workflows" / "small"
COUNT = 16
SECRETS = (SECRET_KEY, "X-Amz-Signature", "X-Amz-Credential")


@pytest.fixture(scope="module")
def bucket(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    skip_but_on_newest(source)
    for needed in ("obstore", "moto", "flask"):
        if find_spec(needed) is None:
            pytest.skip(f'{needed} is not installed; it comes with pip install ".[bucket,bucket-test]"')
    server = moto(tmp_path_factory.mktemp("moto"))
    opened = Bucket(server)
    yield opened
    opened.close()
    server.close()


@pytest.fixture(scope="module")
def studio(source: Path, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """The artist's ComfyUI, with the pack. obstore is lent to it: it is the same for every Python."""
    base = tmp_path_factory.mktemp("studio")
    spec = find_spec("obstore")
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, base / "lent" / "obstore")
    settings = {name: value for name, value in bucket.settings.items() if name.startswith("AWS_")}
    comfy = ComfyUIProcess(
        source, base, "--verbose", "DEBUG", XALORA_API_KEY="consumer-of-tests#a-secret-key",
        XALORA_HOME=str(base / "xalora"), XALORA_BUCKET=bucket.settings["XALORA_BUCKET"],
        PYTHONPATH=str(base / "lent"), **settings,
    )  # fmt: skip
    install(base / "custom_nodes" / "xalora-nodes")
    shutil.copytree(HELPER_NODES, base / "custom_nodes" / "helper_nodes")
    yield from booted(comfy)


@pytest.fixture(scope="module")
def box(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """The miner's ComfyUI, without the pack."""
    yield from booted(ComfyUIProcess(source, tmp_path_factory.mktemp("box")))


@pytest.fixture
def sequencer(box: ComfyUIProcess, tmp_path: Path) -> Iterator[Command]:
    """A sequencer and its miner, each in a process of its own."""
    home = tmp_path / "home"
    server = Command(
        "sequencer", "--data", tmp_path / "data", "--port", 0, "--allow-private-images", cwd=tmp_path, home=home
    )
    server.url = server.first_line().rpartition(" ")[2]  # type: ignore[attr-defined]
    miner = Command(
        "miner", "--sequencer", server.url, "--comfyui", box.url, "--workflows", SMALL,  # type: ignore[attr-defined]
        cwd=tmp_path, home=home,
    )  # fmt: skip
    assert "ready" in miner.first_line()
    yield server
    miner.close()
    server.close()


def batch(seed: int) -> dict[str, Any]:
    """Sixteen images, and the first of them once more."""
    return {
        "images": image(batch=COUNT, seed=seed),
        "first": node("ImageFromBatch", image=["images", 0], batch_index=0, length=1),
        "all": node("ImageBatch", image1=["images", 0], image2=["first", 0]),
        "up": upscale(["all", 0], max_parallel=4),
        "keep": keep(["up", 0]),
        "save": save_image(["up", 0], "large"),
    }


def test_sixteen_images(studio: ComfyUIProcess, bucket: Bucket, sequencer: Any, tmp_path: Path) -> None:
    studio.use(sequencer.url)
    run = studio.run(batch(seed=42), patience=300).ok()
    files = run.files("save")
    assert len(files) == COUNT + 1
    assert files[0].read_bytes() != files[1].read_bytes()
    with Image.open(files[0]) as first, Image.open(files[-1]) as last:
        assert first.size == (64, 48)
        assert first.tobytes() == last.tobytes()
        assert not any(secret in json.dumps(first.info) for secret in SECRETS)
    # Each was stored once, the same one too, and fetched by its link: our own looks ask for one byte.
    assert len(bucket.puts()) == len(set(bucket.puts())) == COUNT
    fetched = [
        each.path
        for each in bucket.asked
        if each.method == "GET" and each.status == 200 and "range" not in each.headers
    ]
    assert set(fetched) >= set(bucket.puts())
    assert all("X-Amz-Signature" in each.query for each in bucket.asked if each.path in bucket.puts())
    poll(lambda: bucket.names() == [], 20, "no image is left in the bucket")
    for path in ("/history", "/queue", "/settings", "/internal/logs"):
        answer = studio.get(path).text
        assert not any(secret in answer for secret in SECRETS), path
    assert not any(secret in json.dumps([event.data for event in studio.events], default=repr) for secret in SECRETS)
    for secret in SECRETS:
        lent = studio.base / "lent"
        places = [each for each in studio.base.rglob("*") if each.is_file() and lent not in each.parents]
        found = [each for each in places if secret.encode() in each.read_bytes() and "custom_nodes" not in each.parts]
        assert found == [], secret


def test_again_nothing_is_uploaded(studio: ComfyUIProcess, bucket: Bucket, sequencer: Any) -> None:
    studio.use(sequencer.url)
    studio.run(batch(seed=43), patience=300).ok()
    before = len(bucket.puts())
    changed = batch(seed=43)
    changed["up"]["inputs"]["max_parallel"] = 5
    assert studio.run(changed, patience=120).ok().end == "execution_success"
    assert len(bucket.puts()) == before
