"""The first minutes with the pack: nothing is set up. And the last of a server: it is killed, and starts again."""

from __future__ import annotations

from PIL import Image

from tests.support.comfyui_process import ComfyUIProcess
from tests.support.comfyui_prompts import flux_lora, node, save_image, text2video
from tests.support.processes import poll
from tests.support.sandbox_process import SandboxProcess


def test_a_missing_key_says_how_to_set_one_and_how_to_try(plain: ComfyUIProcess) -> None:
    plain.use()
    run = plain.run({"make": text2video(), "show": node("PreviewAny", source=["make", 3])})
    assert run.error["exception_message"].strip() == (
        "No API key is set. Set your key in Settings → Xalora; to try without an account, choose the sandbox there."
    )
    assert run.texts("make")[-1] == "No API key is set"


def test_the_sandbox_inside_comfyui(plain: ComfyUIProcess) -> None:
    plain.use("sandbox")
    run = plain.run({"make": flux_lora(), "save": save_image(["make", 0])}).ok()
    with Image.open(run.files("save")[0]) as picture:
        assert picture.size == (64, 80)
    # In ComfyUI's own folder that is not served, where it has one; else where the platform keeps the user's data.
    homes = [plain.base / "user" / "__xalora", plain.base / "data of the user" / "xalora"]
    (home,) = [home for home in homes if home.exists()]
    assert list(home.glob("media/*/*.jpg"))
    for name in ("sandbox/sandbox.sqlite3", "config.json"):
        for path in (f"/userdata/..%2F__xalora%2F{name}", f"/userdata/__xalora%2F{name}"):
            assert not plain.get(path).ok


def test_killed_at_work_and_started_again(
    plain: ComfyUIProcess, endless: SandboxProcess, sandbox: SandboxProcess
) -> None:
    plain.use(endless.url, XALORA_API_KEY="someone#some-key")
    mark = endless.mark()
    plain.queue({"make": text2video(seed=800), "show": node("PreviewAny", source=["make", 3])})
    poll(lambda: mark.statuses() == ["running"], what="the task runs")
    plain.kill()
    assert mark.statuses() == ["running"]
    plain.boot()
    plain.use(sandbox.url, XALORA_API_KEY="someone#some-key")
    plain.run({"make": text2video(seed=801), "show": node("PreviewAny", source=["make", 3])}).ok()
