"""Where results go, and what is printed where."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.support.command_line import picture
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import Answer, status
from tests.support.pictures import encoded
from tests.support.processes import PATIENCE, ROOT
from tests.support.subject import KEY
from xalora_client.protocol.answers import MORE_FILES


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
    xalora, scripted, tmp_path, arguments, output
):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    if arguments[0] != "text2video" and output == "folder":  # There may be several pictures.
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
def test_a_locked_folder(sequencer, tmp_path, arguments):
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


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["text2video", "x"], "x.png"),
        (["text2video", "x"], "x.JPEG"),
        (["text2video", "x"], "new/"),
        (["flux-lora", "x", "--lora", "l"], "x.mp4"),
        (["upscale", "a.png"], "x.mov"),
        (["upscale", "a.png", "b.png"], "x.png"),
        (["upscale", "a.png", "b.png"], "x.webp"),
        (["upscale", "a.png", "b.png"], "old"),
    ],
)
def test_a_name_for_another_kind_or_number_of_files_is_refused_before_anything_is_sent(
    xalora, scripted, tmp_path, arguments, output
):
    for name in ("a.png", "b.png", "old"):
        (tmp_path / name).write_bytes(picture())
    refused = xalora(*arguments, "-o", output, "--json")
    assert (refused.code, refused.json["error"]) == (2, "ConfigurationError")
    assert output in refused.json["message"]
    assert (scripted.seen, sorted(each.name for each in tmp_path.iterdir())) == ([], ["a.png", "b.png", "old"])


@pytest.mark.parametrize("arguments", [["upscale", "a.png"], ["upscale", "a.png", "b.png"]])
def test_a_name_without_an_extension_is_a_new_folder_for_one_image_as_for_two(xalora, scripted, tmp_path, arguments):
    for width, name in enumerate(("a.png", "b.png"), 16):
        (tmp_path / name).write_bytes(picture(width))
    assert xalora(*arguments, "-o", "new").code == 0
    assert len(list((tmp_path / "new").glob("?-upscaled.png"))) == len(arguments) - 1


def test_a_name_that_says_something_else(xalora, scripted, tmp_path):
    done = xalora("fetch", "t1", "-o", "x.mp4")
    assert (done.code, done.out) == (0, "x.mp4\n")
    assert "x.mp4 contains png, although its name says otherwise" in done.err
    assert (tmp_path / "x.mp4").read_bytes() == picture(32, 16)


GIGANTIC = encoded(Image.new("1", (1, 1))).replace(b"\0\0\0\1\0\0\0\1", b"\0\0\xf0\0\0\0\xf0\0", 1)
HEAD = GIGANTIC[12:29]
KEPT = {
    "gigantic.png": GIGANTIC.replace(HEAD + GIGANTIC[29:33], HEAD + zlib.crc32(HEAD).to_bytes(4, "big")),
    "x.exr": b"v/1\1\2\0\0\0channels\0chlist\0" + bytes(range(256)),
    "x.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08meta",
    "x.jxl": b"\xff\x0a" + bytes(range(256)),
    "x.bmp": encoded(Image.new("RGB", (32, 16), "red"), "BMP"),
    "x.tiff": encoded(Image.new("RGB", (32, 16), "red"), "TIFF"),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_paid_for_is_saved_even_where_it_cannot_be_decoded(xalora, scripted, files, tmp_path, name):
    """Larger than any free memory, or of a format that has no decoder here."""
    files.serve("/result.png", File(KEPT[name]))
    done = xalora("fetch", "t1", "-o", name)
    assert (done.code, done.out) == (0, f"{name}\n")
    assert "otherwise" not in done.err
    assert (tmp_path / name).read_bytes() == KEPT[name]
    (stored,) = (tmp_path / "home" / "media").glob("??/*")
    assert stored.suffix == Path(name).suffix


def test_files_that_were_left_behind_are_told(xalora, scripted, files):
    words = f"3 {MORE_FILES} is the result, the others are only on the miner"
    scripted.script("task_result_query", status("finished", result=f"{files.url}/result.png", msg=words))
    assert f"xalora: {words}\n" in xalora("fetch", "t1", "-o", "x.png").err
    assert xalora("fetch", "t1", "-o", "x.png", "--json").json["message"] == words


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes and devices in its folders")
@pytest.mark.parametrize("arguments", [["fetch", "t1"], ["upscale", "a.png"], ["flux-lora", "x", "--lora", "l"]])
def test_a_pipe_a_device_or_a_link_is_written_into_and_stays(xalora, scripted, tmp_path, arguments):
    (tmp_path / "a.png").write_bytes(picture())
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "there.png").write_bytes(b"old")
    (tmp_path / "link.png").symlink_to("there.png")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_bytes)
        assert xalora(*arguments, "-o", "pipe").code == 0
        assert read.result(PATIENCE) == picture(32, 16)
    for output in ("null", "/dev/null", "link.png"):
        assert xalora(*arguments, "-o", output).code == 0
    assert (tmp_path / "there.png").read_bytes() == picture(32, 16)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert (tmp_path / "null").is_symlink()
    assert (tmp_path / "link.png").is_symlink()


@pytest.mark.parametrize("arguments", [["fetch", "t1"], ["upscale", "a.png"], ["run", "--task-type", "t"]])
def test_a_dash_is_stdout(command, scripted, tmp_path, arguments):
    (tmp_path / "a.png").write_bytes(picture())
    code = "import os, subprocess, sys; sys.exit(subprocess.run([sys.executable, '-m', 'xalora_client', *sys.argv[1:]]"
    code += ", stdout=open('out', 'wb')).returncode)"
    run = command(*arguments, "-o", "-", program=("-c", code), XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=scripted.url)
    assert run.wait() == 0, run.errors()
    assert (tmp_path / "out").read_bytes() == picture(32, 16)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", "home", "out"]


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["fetch", "t1"], "x" * 300),
        (["text2video", "x"], "é" * 150 + ".mp4"),
        (["run", "--task-type", "t"], "a/" * 3000 + "x.png"),
        (["upscale", "a.png"], "x" * 300),
        (["upscale", "a.png", "a.png"], "x" * 300 + "/"),
        (["fetch", "t1", "--json"], "-"),
        (["upscale", "a.png", "--json"], "-"),
        (["upscale", "a.png", "a.png"], "-"),
    ],
)
def test_what_cannot_be_a_file_is_refused_before_anything_is_sent(xalora, scripted, tmp_path, arguments, output):
    (tmp_path / "a.png").write_bytes(picture())
    refused = xalora(*arguments, "-o", output)
    assert refused.code == 2
    assert "Traceback" not in refused.err
    assert scripted.seen == []


def test_names_as_long_as_the_system_allows(xalora, scripted, tmp_path):
    longest = "é" * 125 + ".png"
    (tmp_path / longest).write_bytes(picture())
    assert xalora("fetch", "t1", "-o", longest).code == 0
    assert (tmp_path / longest).read_bytes() == picture(32, 16)
    done = xalora("upscale", longest, "-o", "new/", "--json")
    assert (done.code, (tmp_path / done.json["results"][0]["path"]).read_bytes()) == (0, picture(32, 16))


def test_an_old_file_is_replaced_and_nothing_else_left(xalora, scripted, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.png").write_text("old")
    assert xalora("fetch", "t1", "-o", "out/x.png").code == 0
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["x.png"]
    assert (tmp_path / "out" / "x.png").read_bytes() == picture(32, 16)


def test_a_place_that_vanishes_meanwhile_does_not_lose_the_result(xalora, scripted, files, tmp_path):
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


def test_progress_on_stderr_results_on_stdout(xalora, scripted, files):
    url = f"{files.url}/result.png"
    scripted.script("task_result_query", status("running"), Answer({}, 503), status("finished", result=url))
    done = xalora("run", "--task-type", "t", "-o", "x.png")
    assert done.out == "x.png\n"
    lines = done.err.splitlines()
    assert lines[0] == "task t1 queued 0:00"
    assert re.fullmatch(r"task t1 running 0:0\d", lines[1])
    assert re.fullmatch(r"task t1 running 0:0\d · The server answered 503: .*, trying again in 1 s", lines[2])
    assert lines[-2] == "downloaded 0.0 MB"
    assert re.fullmatch(r"done · 0:0\d · 32×16", lines[-1])
