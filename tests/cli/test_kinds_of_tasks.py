"""`xalora text2video`, `flux-lora` and `run`: what they send, and what they make."""

from __future__ import annotations

import io
import json
import re
import sys

import av
import pytest
from PIL import Image

from tests.support.command_line import SMALL


class TestText2Video:
    def test_the_readmes_first_command(self, command, tmp_path):
        run = command("text2video", "a rabbit in the snow", "-o", "rabbit.mp4", "--sandbox")
        assert run.wait() == 0, run.errors()
        assert run.output() == "rabbit.mp4\n"
        assert re.search(r"task \S+ (queued|running) 0:0", run.errors())
        with av.open(tmp_path / "rabbit.mp4") as video:
            stream = video.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (848, 480, 24)
            assert sum(1 for _ in video.decode(stream)) == 37

    def test_its_flags_reach_the_miner(self, xalora, preview, tmp_path):
        done = xalora(
            "text2video", "a rabbit", *SMALL, "--fps", 12, "--steps", 10, "--seed", 2**53 - 1, "--quality", 50,
            "--workflow-id", "1", "--timeout-seconds", 100, "-o", tmp_path / "x.mp4", "--json",
        )  # fmt: skip
        assert done.code == 0
        assert done.json["path"] == str(tmp_path / "x.mp4")
        assert {name: done.json[name] for name in ("status", "width", "height", "frames", "fps")} == {
            "status": "finished", "width": 64, "height": 48, "frames": 5, "fps": 12.0,
        }  # fmt: skip
        assert done.json["bytes"] == (tmp_path / "x.mp4").stat().st_size

    def test_only_what_was_set_is_sent(self, xalora, scripted):
        assert xalora("text2video", "a rabbit", "--seed", 7, "-o", "x.webp").code == 0
        body = next(seen.body for seen in scripted.seen if seen.method == "POST")
        assert (body["consumer_id"], body["task_type"], body["workflow_id"]) == ("consumer-1", "txt2vid", "1")
        assert body["task_details"] == {"parameters": {"prompt": "a rabbit", "seed": 7}}
        assert "timeout_seconds" not in body

    @pytest.mark.parametrize(
        ("flag", "value"),
        [("--width", 50), ("--height", 8), ("--length", 36), ("--seed", 2**53), ("--fps", 0), ("--quality", 101)],
    )
    def test_a_value_no_miner_takes_is_refused_before_anything_is_sent(self, xalora, scripted, flag, value):
        refused = xalora("text2video", "a rabbit", flag, value, "-o", "x.mp4", "--json")
        assert refused.code == 2
        assert refused.json["error"] == "InvalidParameterError"
        assert flag.lstrip("-") in refused.err
        assert "Allowed: " in refused.err
        assert scripted.seen == []

    def test_a_webp_sandbox(self, command, tmp_path, monkeypatch, xalora):
        server = command("sandbox", "--port", 0, "--video-format", "webp", "--json")
        monkeypatch.setenv("XALORA_WORKFLOW_URL", json.loads(server.first_line())["url"])
        done = xalora("text2video", "a rabbit", *SMALL, "-o", "x.mp4")
        assert done.code == 0
        assert "x.mp4 contains webp" in done.err
        assert (tmp_path / "x.mp4").read_bytes()[8:12] == b"WEBP"
        assert "holds" not in xalora("text2video", "a rabbit", *SMALL, "-o", "x.webp").err


class TestOtherKinds:
    def test_flux_lora(self, xalora, preview, tmp_path):
        done = xalora(
            "flux-lora", "a rabbit", "--lora", "soft.safetensors", "--width", 64, "--height", 96, "-o", "x.jpeg"
        )
        assert (done.code, done.out) == (0, "x.jpeg\n")
        assert "holds" not in done.err
        with Image.open(tmp_path / "x.jpeg") as image:
            assert (image.format, image.size) == ("JPEG", (64, 96))

    def test_flux_lora_sends_its_flags(self, xalora, scripted):
        flags = ["--aspect-ratio", "custom", "--guidance", 3.5, "--steps", 4, "--noise-seed", 5, "--timeout-seconds", 9]
        assert xalora("flux-lora", "a rabbit", "--lora", "soft", *flags, "-o", "x.png").code == 0
        body = next(seen.body for seen in scripted.seen if seen.method == "POST")
        assert (body["task_type"], body["workflow_id"], body["timeout_seconds"]) == ("txt2img", "3", 9)
        assert body["task_details"]["parameters"] == {
            "prompt": "a rabbit", "lora_name": "soft", "aspect_ratio": "custom", "guidance": 3.5, "steps": 4,
            "noise_seed": 5,
        }  # fmt: skip

    def test_run_sends_json_and_words(self, xalora, scripted):
        done = xalora(
            "run", "--task-type", "img2img", "--workflow-id", 9, "--param", "n=3", "--param", "on=true",
            "--param", 'list=[1, "ü"]', "--param", "prompt=a = b", "--param", "n=4", "--timeout-seconds", 60,
            "-o", "x.png",
        )  # fmt: skip
        assert (done.code, done.out) == (0, "x.png\n")
        body = next(seen.body for seen in scripted.seen if seen.method == "POST")
        assert (body["task_type"], body["workflow_id"], body["timeout_seconds"]) == ("img2img", "9", 60)
        assert body["task_details"]["parameters"] == {"n": 4, "on": True, "list": [1, "ü"], "prompt": "a = b"}

    def test_run_against_the_sandbox(self, xalora, preview):
        done = xalora("run", "--task-type", "txt2vid", "--param", "prompt=hi", "--param", "length=5",
                      "--param", "width=64", "--param", "height=64", "-o", "x.mp4", "--json")  # fmt: skip
        assert (done.code, done.json["frames"]) == (0, 5)

    @pytest.mark.parametrize("odd", ["=3", "nothing", ""])
    def test_a_parameter_without_a_name(self, xalora, scripted, odd):
        refused = xalora("run", "--task-type", "t", "--param", odd, "-o", "x.png")
        assert refused.code == 2
        assert "K=JSON" in refused.err
        assert scripted.seen == []


@pytest.mark.parametrize("arguments", [("text2video", "-o", "x.mp4"), ("flux-lora", "-o", "x.png", "--lora", "x")])
def test_a_prompt_from_standard_input(xalora, scripted, monkeypatch, arguments):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa rabbit\nin the snow\n")))
    xalora(arguments[0], "-", *arguments[1:])
    (created,) = [seen for seen in scripted.seen if seen.path == "/task_create"]
    assert created.body["task_details"]["parameters"]["prompt"] == "a rabbit\nin the snow"


@pytest.mark.parametrize("given", [b"", b" \n", b"\xff\xfe"])
def test_no_prompt_from_standard_input(xalora, scripted, monkeypatch, given):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    assert xalora("text2video", "-", "-o", "x.mp4").code == 2
    assert scripted.count("task_create") == 0
