"""The `xalora` command: what it prints where, what it exits with, what it leaves on the disk."""

from __future__ import annotations

import fcntl
import getpass
import io
import json
import os
import pty
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import closing, contextmanager

import av
import pytest
import requests
from file_server import File
from PIL import Image
from processes import PATIENCE, ROOT, Command, poll
from sandbox_process import SandboxProcess
from sequencer import Answer, status
from subject import KEY, SECRET

from xalora_client import __version__
from xalora_client.cli import main

SMALL = ["--width", "64", "--height", "48", "--length", "5"]


@pytest.fixture
def slow(tmp_path):
    """A sandbox that never finishes anything, serving the folder that --sandbox uses."""
    server = SandboxProcess(tmp_path / "slow", "--data", tmp_path / "home" / "sandbox", render_seconds=3600)
    yield server
    server.close()


@pytest.fixture
def command(tmp_path):
    """A function that starts the command as a process; all end with the test."""
    started = []

    def start(*arguments, **options):
        started.append(Command(*arguments, cwd=tmp_path, home=tmp_path / "home", **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


class Outcome:
    """What one run of the command did."""

    def __init__(self, code, captured):
        self.code, self.out, self.err = code, captured.out, captured.err

    @property
    def json(self):
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


@pytest.fixture
def xalora(capsys, monkeypatch):
    """Run the command in this process. Whatever it prints, the key is not in it."""
    monkeypatch.setenv("XALORA_API_KEY", KEY)

    def run(*arguments):
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as end:
            code = end.code
        outcome = Outcome(code, capsys.readouterr())
        assert SECRET not in outcome.out + outcome.err
        return outcome

    return run


@pytest.fixture
def at(monkeypatch):
    """Point the command at a server."""
    return lambda server: monkeypatch.setenv("XALORA_WORKFLOW_URL", server.url)


@pytest.fixture
def preview(sandbox, at):
    at(sandbox)
    return sandbox


@pytest.fixture
def scripted(sequencer, files, at):
    """The sequencer that says what it is told; its results are real pictures."""
    at(sequencer)
    url = files.serve("/result.png", File(picture(32, 16)))
    sequencer.script("task_result_query", status("finished", result=url))
    return sequencer


def picture(width=24, height=16, kind="PNG"):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 90)).save(file, kind)
    return file.getvalue()


def state_of(server, task_id, key=SECRET):
    answer = requests.post(f"{server.url}/task_result_query", json={"task_id": task_id, "api_key": key}, timeout=30)
    return answer.json().get("status")


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
        assert xalora("text2video", "a rabbit", "--seed", 7, "-o", "x.png").code == 0
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
        assert "x.mp4 holds webp" in done.err
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
        body = scripted.seen[0].body
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
        body = scripted.seen[0].body
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


class TestUpscale:
    def test_one_file_to_a_file(self, xalora, preview, tmp_path):
        (tmp_path / "a.png").write_bytes(picture())
        done = xalora("upscale", "a.png", "-o", "b.png", "--json")
        assert done.code == 0
        assert [(each["image"], each["path"], each["width"]) for each in done.json["results"]] == [
            ("a.png", "b.png", 48)
        ]
        with Image.open(tmp_path / "b.png") as image:
            assert image.size == (48, 32)

    def test_several_to_a_new_folder_where_names_collide(self, xalora, preview, tmp_path):
        names = {"x.png": 10, "one/x.png": 11, "two/x.jpg": 12, "x-upscaled.png": 13, "x-upscaled-2.png": 14}
        for name, width in names.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(picture(width, kind="JPEG" if name.endswith("jpg") else "PNG"))
        done = xalora("upscale", *names, "x.png", "-o", "new/folder", "--json")
        assert done.code == 0, done.err
        results = done.json["results"]
        assert [each["image"] for each in results] == [*names, "x.png"]
        assert len({each["path"] for each in results}) == len(results) == len(list((tmp_path / "new/folder").iterdir()))
        for each in results:
            with Image.open(tmp_path / each["path"]) as image:
                assert image.width == 2 * names[each["image"]]

    def test_one_to_a_folder(self, xalora, preview, tmp_path):
        (tmp_path / "a.png").write_bytes(picture())
        (tmp_path / "there").mkdir()
        assert xalora("upscale", "a.png", "-o", "there").out == "there/a-upscaled.png\n"
        assert xalora("upscale", "a.png", "-o", "new/").out == "new/a-upscaled.png\n"

    def test_a_url_and_a_data_uri(self, xalora, scripted, files, tmp_path):
        url = f"{files.url}/cat.png?token=1"
        done = xalora("upscale", url, "data:image/png;base64,AAAA", "-o", "out")
        assert done.code == 0
        assert done.out.splitlines() == ["out/cat-upscaled.png", "out/image-upscaled.png"]
        sent = [
            seen.body["task_details"]["parameters"]["image"] for seen in scripted.seen if "task_details" in seen.body
        ]
        assert set(sent) == {url, "data:image/png;base64,AAAA"}

    def test_a_url_that_the_sandbox_fetches(self, xalora, preview, files, tmp_path):
        assert xalora("upscale", files.serve("/a.png", File(picture())), "-o", "b.png").code == 0
        with Image.open(tmp_path / "b.png") as image:
            assert image.size == (48, 32)

    @pytest.mark.parametrize("name", ["missing.png", "text.png", "empty.png", "folder", "movie.mp4"])
    def test_what_is_no_image_is_refused_before_anything_is_sent(self, xalora, scripted, tmp_path, name):
        (tmp_path / "good.png").write_bytes(picture())
        (tmp_path / "text.png").write_text("not a picture")
        (tmp_path / "empty.png").write_text("")
        (tmp_path / "movie.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\0\0isomiso2")
        (tmp_path / "folder").mkdir()
        refused = xalora("upscale", "good.png", name, "-o", "out", "--json")
        assert refused.code == 2
        assert name in refused.json["message"]
        assert scripted.seen == []

    def test_at_most_so_many_at_once(self, xalora, scripted, tmp_path):
        for number in range(2):
            (tmp_path / f"{number}.png").write_bytes(picture(16 + number))
        assert xalora("upscale", "0.png", "1.png", "-o", "out", "--max-parallel", 1).code == 0
        assert scripted.paths() == ["task_create", "task_result_query"] * 2
        refused = xalora("upscale", "0.png", "-o", "out", "--max-parallel", 0)
        assert refused.code == 2
        assert "--max-parallel" in refused.err

    def test_one_failure_does_not_stop_the_others(self, xalora, preview, files, tmp_path):
        gone = [files.serve(f"/{name}.png", File(b"gone", 404)) for name in ("gone", "lost")]
        (tmp_path / "good.png").write_bytes(picture())
        arguments = ["upscale", gone[0], "good.png", gone[1], "-o", "out"]
        done = xalora(*arguments)
        assert done.code == 1
        assert done.out == "out/good-upscaled.png\n"
        assert done.err.count("404") == 2
        done = xalora(*arguments, "--json")
        assert done.code == 1
        assert done.json["error"] == "TaskFailedError"

    def test_each_image_is_named_in_the_progress(self, xalora, scripted, tmp_path):
        for width, name in enumerate(("a.png", "b.png"), start=16):
            (tmp_path / name).write_bytes(picture(width))
        lines = xalora("upscale", "a.png", "b.png", "-o", "out").err
        assert "a.png: task t1 queued 0:00" in lines
        assert "b.png: task t1 queued 0:00" in lines


class TestOutput:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["text2video", "x"],
            ["flux-lora", "x", "--lora", "l"],
            ["run", "--task-type", "t"],
            ["upscale", "a.png"],
            ["fetch", "t1"],
        ],
        ids=lambda each: each[0],
    )
    @pytest.mark.parametrize("output", ["missing/x.png", "file/x.png", "folder"])
    def test_a_place_that_cannot_be_written_is_refused_before_anything_is_sent(
        self, xalora, scripted, tmp_path, arguments, output
    ):
        (tmp_path / "a.png").write_bytes(picture())
        (tmp_path / "file").write_text("")
        (tmp_path / "folder").mkdir()
        if arguments[0] == "upscale" and output == "folder":
            output = "file/folder/"
        refused = xalora(*arguments, "-o", output, "--json")
        assert refused.code == 2
        assert refused.json["error"] == "ConfigurationError"
        assert output.partition("/")[0] in refused.json["message"]
        assert scripted.seen == []

    @pytest.mark.parametrize(
        "arguments",
        [["text2video", "x", "-o", "locked/x.mp4"], ["upscale", "a.png", "-o", "locked"]],
        ids=lambda each: each[0],
    )
    def test_a_locked_folder(self, sequencer, tmp_path, arguments):
        (tmp_path / "a.png").write_bytes(picture())
        (tmp_path / "locked").mkdir(mode=0o500)
        # Root writes everywhere; so the command gives that right up (PR_CAPBSET_DROP, CAP_DAC_OVERRIDE) first.
        drop = (
            "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0);"
            "os.execv(sys.executable, [sys.executable, '-m', 'xalora_client', *sys.argv[1:]])"
        )
        environ = {
            "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
            "XALORA_API_KEY": KEY, "XALORA_WORKFLOW_URL": sequencer.url,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", drop, *arguments],
            cwd=tmp_path, env=os.environ | environ, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "locked" in done.stderr
        assert "Traceback" not in done.stderr
        assert sequencer.seen == []

    def test_a_name_that_says_something_else(self, xalora, scripted, tmp_path):
        done = xalora("fetch", "t1", "-o", "x.mp4")
        assert (done.code, done.out) == (0, "x.mp4\n")
        assert "x.mp4 holds png, whatever its name says" in done.err
        assert (tmp_path / "x.mp4").read_bytes() == picture(32, 16)

    def test_an_old_file_is_replaced_and_nothing_else_left(self, xalora, scripted, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "x.png").write_text("old")
        assert xalora("fetch", "t1", "-o", "out/x.png").code == 0
        assert [each.name for each in (tmp_path / "out").iterdir()] == ["x.png"]
        assert (tmp_path / "out" / "x.png").read_bytes() == picture(32, 16)

    def test_a_place_that_vanishes_meanwhile_does_not_lose_the_result(self, xalora, scripted, files, tmp_path):
        (tmp_path / "out").mkdir()

        def vanish(_):
            (tmp_path / "out").rmdir()
            return status("finished", result=f"{files.url}/result.png")

        scripted.script("task_result_query", vanish)
        failed = xalora("fetch", "t1", "-o", "out/x.png", "--json")
        assert failed.code == 2
        assert failed.json["task_id"] == "t1"
        kept = re.search(r"safe in (\S+\.png)", failed.json["message"])[1]
        with Image.open(kept) as image:
            assert image.size == (32, 16)

    def test_progress_on_stderr_results_on_stdout(self, xalora, scripted, files):
        url = f"{files.url}/result.png"
        scripted.script("task_result_query", status("running"), Answer({}, 503), status("finished", result=url))
        done = xalora("run", "--task-type", "t", "-o", "x.png")
        assert done.out == "x.png\n"
        lines = done.err.splitlines()
        assert lines[0] == "task t1 queued 0:00"
        assert re.fullmatch(r"task t1 running 0:0\d", lines[1])
        assert lines[-1] == "downloaded 0.0 MB"


class TestExitCodes:
    @pytest.mark.parametrize(("state", "error"), [("failed", "TaskFailedError"), ("canceled", "TaskCanceledError")])
    def test_1_the_task_did_not_end_well(self, xalora, scripted, state, error):
        scripted.script("task_result_query", status(state, msg="out of memory"))
        failed = xalora("fetch", "t1", "-o", "x.png", "--json")
        assert failed.code == 1
        assert failed.json["error"] == error
        assert failed.json["task_id"] == "t1"
        assert "out of memory" in failed.json["message"]
        assert failed.err.endswith(f"xalora: {failed.json['message']}\n")
        assert xalora("fetch", "t1", "-o", "x.png").out == ""

    def test_1_the_result_is_no_media(self, xalora, scripted, files):
        files.serve("/result.png", File(b"<html>log in</html>"))
        failed = xalora("fetch", "t1", "-o", "x.png", "--json")
        assert failed.code == 1
        assert failed.json["error"] == "DecodeError"
        assert "rejected" in failed.json["message"]

    @pytest.mark.parametrize(
        "arguments",
        [[], ["nonsense"], ["text2video"], ["text2video", "x"], ["text2video", "x", "-o", "y", "--len", "5"],
         ["flux-lora", "x", "-o", "y"], ["run", "-o", "y"], ["upscale", "-o", "y"], ["status"], ["fetch", "t1"],
         ["text2video", "x", "-o", "y", "--width", "wide"], ["sandbox", "--video-format", "gif"]],
        ids=" ".join,
    )  # fmt: skip
    def test_2_usage(self, xalora, arguments):
        refused = xalora(*arguments)
        assert refused.code == 2
        assert refused.out == ""
        assert re.fullmatch(r"xalora: .+\. See `xalora( [\w-]+)? --help`\.\n", refused.err)

    @pytest.mark.parametrize("arguments", [["--json"], ["text2video", "--json"], ["run", "--json", "--param", "odd"]])
    def test_2_usage_in_json(self, xalora, arguments):
        refused = xalora(*arguments)
        assert refused.code == 2
        assert refused.json["error"] == "ConfigurationError"
        assert "--help" in refused.json["message"]

    @pytest.mark.parametrize("arguments", [["--help"], ["text2video", "--help"], ["sandbox", "--help"]])
    def test_0_help(self, xalora, arguments):
        done = xalora(*arguments)
        assert done.code == 0
        assert done.out.startswith("usage: xalora")
        assert done.err == ""

    @pytest.mark.parametrize("timeout", ["0", "-1", "nan"])
    def test_2_a_timeout_nobody_can_wait(self, xalora, scripted, timeout):
        assert xalora("run", "--task-type", "t", "-o", "x.png", "--timeout", timeout).code == 2
        assert scripted.seen == []

    @pytest.mark.parametrize(
        "arguments",
        [["text2video", "x", "-o", "y.mp4"], ["status", "t1"], ["cancel", "t1"], ["fetch", "t1", "-o", "y"]],
        ids=lambda each: each[0],
    )
    def test_2_no_key(self, xalora, monkeypatch, arguments):
        monkeypatch.delenv("XALORA_API_KEY")
        refused = xalora(*arguments, "--json")
        assert refused.code == 2
        for way in ("XALORA_API_KEY", ".env", "xalora login", "--sandbox"):
            assert way in refused.json["message"]
        assert refused.json["task_id"] is None

    def test_2_a_key_or_url_in_the_wrong_form(self, xalora, monkeypatch):
        monkeypatch.setenv("XALORA_API_KEY", SECRET.replace("-", ""))
        assert xalora("status", "t1").code == 2
        monkeypatch.setenv("XALORA_API_KEY", KEY)
        monkeypatch.setenv("XALORA_WORKFLOW_URL", "nonsense")
        assert xalora("status", "t1").code == 2

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            (Answer({"message": "no"}, 400), "BadRequestError"),
            (Answer({"message": f"unknown key {SECRET}"}, 401), "AuthenticationError"),
            (Answer({"message": "no credit"}, 402), "PaymentRequiredError"),
            (Answer({"message": "broken"}, 500), "ServerError"),
            (Answer(b"<html>"), "ResponseError"),
            (Answer(drop=True), "NetworkError"),
        ],
        ids=["400", "401", "402", "500", "no JSON", "drop"],
    )
    def test_3_the_server(self, xalora, scripted, answer, error):
        scripted.script("task_create", answer)
        failed = xalora("run", "--task-type", "t", "-o", "x.png", "--json")
        assert failed.code == 3
        assert failed.json["error"] == error
        assert failed.err == f"xalora: {failed.json['message']}\n"

    def test_3_no_server(self, xalora, monkeypatch):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            monkeypatch.setenv("XALORA_WORKFLOW_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
            failed = xalora("run", "--task-type", "t", "-o", "x.png", "--timeout", 1, "--json")
        assert failed.code == 3
        assert failed.json["error"] == "NetworkError"

    def test_3_the_file_is_gone(self, xalora, scripted, files):
        files.serve("/result.png", File(b"gone", 410))
        failed = xalora("fetch", "t1", "-o", "x.png", "--json")
        assert failed.code == 3
        assert failed.json["error"] == "DownloadError"
        assert failed.json["task_id"] == "t1"

    def test_4_timed_out_and_fetched_later(self, xalora, scripted, files, tmp_path):
        scripted.script("task_result_query", status("running"))
        late = xalora("run", "--task-type", "t", "-o", "x.png", "--timeout", 0.1, "--json")
        assert late.code == 4
        assert late.json["error"] == "TaskTimeoutError"
        assert late.json["task_id"] == "t1"
        assert scripted.count("task_cancel") == 0
        scripted.script("task_result_query", status("finished", result=f"{files.url}/result.png"))
        done = xalora("fetch", "t1", "-o", "x.png", "--json", "--timeout", 5)
        assert done.code == 0
        assert done.json["path"] == "x.png"
        assert (tmp_path / "x.png").read_bytes() == picture(32, 16)

    @pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
    def test_130_ctrl_c_cancels_remotely(self, command, slow, as_json):
        run = command(
            "text2video", "a rabbit", *SMALL, "-o", "x.mp4", *["--json"] * as_json,
            XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=slow.url,
        )  # fmt: skip
        task_id = run.said(r"task (\S+) queued")[1]
        poll(lambda: state_of(slow, task_id) == "running")
        run.interrupt()
        assert run.wait() == 130
        assert state_of(slow, task_id) == "canceled"
        assert "xalora: Interrupted" in run.errors()
        assert "Traceback" not in run.errors()
        assert SECRET not in run.output() + run.errors()
        if as_json:
            assert json.loads(run.output())["error"] == "KeyboardInterrupt"
        else:
            assert run.output() == ""

    def test_130_in_this_process(self, xalora, scripted):
        """As above, where coverage sees it."""

        def press(_):
            os.kill(os.getpid(), signal.SIGINT)
            return status("running")

        scripted.script("task_result_query", press, status("running"))
        stopped = xalora("fetch", "t1", "-o", "x.png", "--json")
        assert (stopped.code, stopped.json["error"]) == (130, "KeyboardInterrupt")
        assert scripted.paths()[-1] == "task_cancel"

    def test_130_cancels_each_of_several(self, command, slow, tmp_path):
        for width, name in enumerate(("a.png", "b.png", "c.png"), start=16):
            (tmp_path / name).write_bytes(picture(width))
        run = command("upscale", "a.png", "b.png", "c.png", "-o", "out", "--max-parallel", 2, "--sandbox")
        tasks = [run.said(rf"{name}: task (\S+) queued")[1] for name in ("a.png", "b.png")]
        run.interrupt()
        assert run.wait() == 130
        assert [state_of(slow, task, "local-preview") for task in tasks] == ["canceled"] * 2
        assert "c.png: task" not in run.errors()

    def test_130_before_anything_was_made(self, command, sequencer):
        sequencer.script("task_result_query", Answer({}, 503))
        run = command("fetch", "t1", "-o", "x.png", XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=sequencer.url)
        run.said("asking again")
        run.interrupt()
        assert run.wait() == 130


class TestTasksOfOtherProcesses:
    def test_timed_out_in_one_fetched_in_another(self, command, tmp_path):
        late = command("text2video", "a rabbit", "-o", "x.mp4", "--sandbox", "--timeout", 0.05, "--json")
        assert late.wait() == 4
        task_id = json.loads(late.output())["task_id"]
        done = command("fetch", task_id, "-o", "x.mp4", "--sandbox")
        assert done.wait() == 0, done.errors()
        assert (tmp_path / "x.mp4").stat().st_size > 1000
        status = command("status", task_id, "--sandbox")
        assert status.wait() == 0
        assert status.output().startswith("finished http://127.0.0.1:")

    def test_canceled_by_another(self, command, slow):
        first = command("text2video", "a rabbit", *SMALL, "-o", "x.mp4", "--sandbox", "--json")
        task_id = first.said(r"task (\S+) queued")[1]
        first.said("running")
        asked = command("status", task_id, "--sandbox", "--json")
        assert asked.wait() == 0
        assert json.loads(asked.output())["status"] == "running"
        canceled = command("cancel", task_id, "--sandbox", "--json")
        assert canceled.wait() == 0
        assert json.loads(canceled.output()) == {"task_id": task_id, "message": "canceled"}
        assert first.wait() == 1
        assert json.loads(first.output())["error"] == "TaskCanceledError"
        again = command("status", task_id, "--sandbox")
        assert again.wait() == 1
        assert again.output().startswith("canceled")

    def test_unknown_ones(self, xalora, preview):
        for name, more in (("status", []), ("cancel", []), ("fetch", ["-o", "x.mp4"])):
            failed = xalora(name, "no-such-task", *more, "--json")
            assert failed.code == 3
            assert failed.json["error"] == "NotFoundError"
            assert failed.json["task_id"] == "no-such-task"

    def test_status_in_words_and_json(self, xalora, scripted):
        scripted.script("task_result_query", status("waiting", msg="3 before it"))
        assert xalora("status", "t1").out == "waiting 3 before it\n"
        shown = xalora("status", "t1", "--json")
        assert (shown.code, shown.json["status"], shown.json["message"]) == (0, "waiting", "3 before it")
        scripted.script("task_result_query", status("failed", msg="out of memory"))
        assert (xalora("status", "t1").code, xalora("status", "t1", "--json").json["status"]) == (1, "failed")

    def test_cancel_in_words(self, xalora, scripted):
        done = xalora("cancel", "t1")
        assert (done.code, done.out, done.err) == (0, "cancelled\n", "")
        assert scripted.paths() == ["task_cancel"]


@pytest.fixture
def past(xalora, scripted, files):
    """Three tasks of three kinds: finished and downloaded, finished unseen, failed."""
    ids = iter(["made", "late", "lost"])
    scripted.script("task_create", lambda _: Answer({"task_id": next(ids)}))
    url = f"{files.url}/result.png"
    assert xalora("run", "--task-type", "first", "-o", "x.png").code == 0
    scripted.script("task_result_query", status("running"))
    assert xalora("run", "--task-type", "second", "-o", "x.png", "--timeout", 0.1).code == 4
    scripted.script("task_result_query", status("failed", task_id="lost", msg="out of memory"))
    assert xalora("run", "--task-type", "third", "-o", "x.png").code == 1
    scripted.script("task_result_query", status("finished", result=url))
    scripted.seen.clear()
    return scripted


class TestPast:
    def test_the_tasks_so_far_newest_first(self, xalora, past):
        shown = xalora("tasks", "--json")
        assert shown.code == 0
        assert [each["task_id"] for each in shown.json["tasks"]] == ["lost", "late", "made"]
        assert [each["task_type"] for each in shown.json["tasks"]] == ["third", "second", "first"]
        lines = xalora("tasks").out.splitlines()[1:]
        assert [re.search(r"\b(made|late|lost)\b", line)[1] for line in lines] == ["lost", "late", "made"]
        assert [each["task_id"] for each in xalora("tasks", "--json", "--limit", 2).json["tasks"]] == ["lost", "late"]
        assert past.seen == []

    def test_none_so_far(self, xalora):
        assert xalora("tasks", "--json").json["tasks"] == []
        assert xalora("tasks").code == 0

    def test_the_same_again_is_not_paid_again(self, xalora, past, files, tmp_path):
        asked = len(files.seen)
        done = xalora("run", "--task-type", "first", "-o", "again.png")
        assert (done.code, done.out) == (0, "again.png\n")
        assert (tmp_path / "again.png").read_bytes() == picture(32, 16)
        assert len(files.seen) == asked
        assert past.seen == []
        assert xalora("run", "--task-type", "second", "-o", "late.png").code == 0
        assert past.count("task_create") == 0
        assert {seen.body["task_id"] for seen in past.seen} == {"late"}

    def test_unless_one_wants_it_anew_or_strikes_it_out(self, xalora, past):
        past.script("task_create", Answer({"task_id": "new"}), Answer({"task_id": "newer"}))
        assert xalora("run", "--task-type", "first", "-o", "x.png", "--no-reuse").code == 0
        assert past.count("task_create") == 1
        for task_id in ("made", "new"):
            assert task_id in xalora("tasks", "--forget", task_id).out
        assert xalora("run", "--task-type", "first", "-o", "x.png").code == 0
        assert past.count("task_create") == 2

    def test_what_was_never_there_cannot_be_struck_out(self, xalora):
        refused = xalora("tasks", "--forget", "never", "--json")
        assert refused.code == 2
        assert "never" in refused.json["message"]

    def test_downloads_are_pruned(self, xalora, command, scripted, tmp_path):
        made = ["run", "--task-type", "first", "-o", "x.png"]
        # In a process of its own: what a living one has fetched is in use.
        assert command(*made, XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=scripted.url).wait() == 0
        size = len(picture(32, 16))
        assert xalora("prune", "--json").json == {"removed": [], "freed_bytes": 0, "left_bytes": size}
        [stored] = (tmp_path / "home" / "media").glob("??/*.png")
        an_hour_ago = time.time() - 3600
        os.utime(stored, (an_hour_ago, an_hour_ago))
        pruned = xalora("prune", "--budget", 0, "--json")
        assert (pruned.code, pruned.json["removed"], pruned.json["freed_bytes"]) == (0, [str(stored)], size)
        assert not stored.exists()
        assert xalora("prune").out == "0 files removed, 0.0 MB freed, 0.0 MB left\n"
        # What is gone is fetched again, not paid again.
        assert xalora(*made).code == 0
        assert scripted.count("task_create") == 1
        for budget in ("-1", "nan"):
            assert xalora("prune", "--budget", budget).code == 2


class TestLogin:
    @pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
    def test_from_stdin_for_the_owner_alone(self, command, sequencer, tmp_path, as_json):
        path = tmp_path / "home" / "config.json"
        done = command("login", *["--json"] * as_json, stdin=f"{KEY}\n")
        assert done.wait() == 0, done.errors()
        assert done.output().strip() == (json.dumps({"path": str(path)}) if as_json else f"Stored in {path}")
        assert SECRET not in done.output() + done.errors()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        later = command("cancel", "t1", XALORA_WORKFLOW_URL=sequencer.url)
        assert later.wait() == 0, later.errors()
        assert sequencer.seen[0].body["api_key"] == SECRET

    @pytest.mark.parametrize("typed", ["", "\n", "nonsense\n", "#\n"])
    def test_what_is_no_key_is_refused(self, xalora, tmp_path, monkeypatch, typed):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\n"))
        assert xalora("login").out == f"Stored in {tmp_path / 'home' / 'config.json'}\n"
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        refused = xalora("login", "--json")
        assert refused.code == 2
        assert "consumer#key" in refused.json["message"]
        assert json.loads((tmp_path / "home" / "config.json").read_text())["api_key"] == KEY

    def test_on_a_terminal_the_key_is_not_shown(self, tmp_path):
        with on_terminal("login", home=tmp_path / "home", cwd=tmp_path) as terminal:
            terminal.until("API key")
            terminal.write(f"{KEY}\n")
            assert terminal.wait() == 0
        assert SECRET not in terminal.shown
        assert json.loads((tmp_path / "home" / "config.json").read_text())["api_key"] == KEY


class Terminal:
    """A command whose stdin, stdout and stderr are a terminal; ``shown`` is what stood on it."""

    def __init__(self, process, end):
        self.process, self.end, self.shown = process, end, ""

    def read(self):
        """Take in what is there; False once the other end is closed."""
        if not select.select([self.end], [], [], 0.05)[0]:
            return True
        try:
            data = os.read(self.end, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def until(self, text):
        poll(lambda: self.read() and text in self.shown)

    def write(self, text):
        os.write(self.end, text.encode())

    def wait(self):
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read()
        while self.read() and select.select([self.end], [], [], 0)[0]:
            pass
        return self.process.returncode


@contextmanager
def on_terminal(*arguments, home, cwd, **environ):
    end, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "xalora_client", *map(str, arguments)],
        stdin=other, stdout=other, stderr=other, cwd=cwd, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XALORA_HOME": str(home), "TERM": "xterm"} | environ,
    )  # fmt: skip
    os.close(other)
    try:
        yield Terminal(process, end)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(end)


class TestProgress:
    def test_a_bar_on_a_terminal(self, sandbox, tmp_path):
        environ = {"XALORA_API_KEY": KEY, "XALORA_WORKFLOW_URL": sandbox.url}
        with on_terminal(
            "text2video", "a rabbit", *SMALL, "-o", "x.mp4", home=tmp_path / "home", cwd=tmp_path, **environ
        ) as terminal:
            assert terminal.wait() == 0
        assert "\rqueued 0:0" in terminal.shown
        assert "task " not in terminal.shown  # No lines that scroll away.
        shown = terminal.shown.rstrip().splitlines()
        assert shown[-1].rpartition("\r")[2] == "x.mp4"
        assert SECRET not in terminal.shown

    def test_a_bar_for_a_long_download(self, sequencer, files, tmp_path):
        content = picture(32, 16) + bytes(3_000_000)  # What follows a PNG's end is nobody's concern.
        url = files.serve("/x.png", File(content, etag='"v1"', stall_after=1_500_000), File(content, etag='"v1"'))
        sequencer.script("task_result_query", status("finished", result=url))
        environ = {"XALORA_API_KEY": KEY, "XALORA_WORKFLOW_URL": sequencer.url}
        with on_terminal("fetch", "t1", "-o", "x.png", home=tmp_path / "home", cwd=tmp_path, **environ) as terminal:
            terminal.until("/3.00M")
            files.released.set()
            assert terminal.wait() == 0
        assert "downloading:" in terminal.shown

    def test_lines_elsewhere(self, command, sandbox):
        run = command("text2video", "x", *SMALL, "-o", "x.mp4", XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=sandbox.url)
        assert run.wait() == 0
        assert "\r" not in run.errors()
        assert "\x1b" not in run.errors()
        assert run.errors().splitlines()[-1].startswith("downloaded ")

    def test_bars_are_taken_away_again(self, xalora, scripted, files, monkeypatch):
        """As above in this process, with a stream that says it is a terminal."""

        class Screen(io.StringIO):
            def isatty(self):
                return True

        screen = Screen()
        monkeypatch.setattr(sys, "stderr", screen)
        url = f"{files.url}/result.png"
        scripted.script("task_result_query", status("odd"), status("finished", result=url))
        assert xalora("fetch", "t1", "-o", "x.png").code == 0
        assert "odd 0:0" in screen.getvalue()
        assert "downloading" in screen.getvalue()
        assert screen.getvalue().endswith("\r")


class TestSandbox:
    def test_its_ready_line(self, sandbox):
        assert re.fullmatch(r"Xalora sandbox listening on http://127\.0\.0\.1:\d+", sandbox.ready)

    def test_ctrl_c_ends_it(self, command):
        server = command("sandbox", "--port", 0)
        assert server.first_line().startswith("Xalora sandbox listening on ")
        server.interrupt()
        assert server.wait() == 130
        assert "Traceback" not in server.errors()

    @pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
    def test_ctrl_c_ends_it_in_this_process(self, capsys, tmp_path, as_json):
        """As above, where coverage sees it."""
        answered = []

        def stop():
            try:
                path = tmp_path / "data" / "url"
                url = poll(lambda: path.exists() and json.loads(path.read_text())["url"])
                answered.append(requests.get(url, timeout=PATIENCE).json()["service"])
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        stopper = threading.Thread(target=stop)
        stopper.start()
        assert main(["sandbox", "--port", "0", "--data", str(tmp_path / "data"), *["--json"] * as_json]) == 130
        stopper.join()
        assert answered == ["Xalora sandbox"]
        first = capsys.readouterr().out.splitlines()[0]
        assert (json.loads(first)["url"] if as_json else first.rpartition(" ")[2]).startswith("http://127.0.0.1:")

    def test_where_it_listens_and_keeps_things(self, command, tmp_path):
        server = command("sandbox", "--host", "localhost", "--port", 0, "--data", "here", "--workers", 1)
        assert server.first_line().startswith("Xalora sandbox listening on http://localhost:")
        assert (tmp_path / "here").is_dir()

    @pytest.mark.parametrize(
        "arguments",
        [["--workers", "0"], ["--render-seconds", "-1"], ["--port", "99999"], ["--host", "203.0.113.1", "--port", "0"]],
        ids=" ".join,
    )
    def test_what_it_cannot_do(self, xalora, arguments):
        refused = xalora("sandbox", *arguments, "--json")
        assert refused.code == 2
        assert refused.json["error"] in ("ConfigurationError", "InvalidParameterError")

    def test_a_port_in_use(self, xalora, tmp_path):
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            refused = xalora("sandbox", "--port", other.getsockname()[1], "--data", tmp_path / "data")
        assert refused.code == 2
        assert "cannot listen" in refused.err


def test_the_version(xalora, command):
    shown = xalora("--version")
    assert (shown.code, shown.out) == (0, f"xalora {__version__}\n")
    assert command("--version").first_line() == f"xalora {__version__}"


def test_no_key_typed_at_the_prompt(xalora, monkeypatch):
    monkeypatch.setattr(getpass, "getpass", lambda _: "")
    monkeypatch.setattr(sys, "stdin", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})())
    assert xalora("login").code == 2
