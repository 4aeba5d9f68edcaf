"""Bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import re
import sys
import threading

from tests.support.command_line import SMALL, on_terminal, picture
from tests.support.fake_file_server import File
from tests.support.fake_sequencer import status
from tests.support.subject import KEY, SECRET


def test_a_bar_on_a_terminal(sandbox, tmp_path):
    environ = {"XALORA_API_KEY": KEY, "XALORA_WORKFLOW_URL": sandbox.url}
    with on_terminal(
        "text2video", "a rabbit", *SMALL, "-o", "x.mp4", home=tmp_path / "home", cwd=tmp_path, **environ
    ) as terminal:
        assert terminal.wait() == 0
    assert "\rqueued 0:0" in terminal.shown
    assert "task " not in terminal.shown  # No lines that scroll away.
    shown = terminal.shown.rstrip().splitlines()
    assert re.fullmatch(r"done · 0:\d\d · 64×48 · 5 frames", shown[-2].rpartition("\r")[2])
    assert shown[-1] == "x.mp4"
    assert SECRET not in terminal.shown


def test_a_bar_for_a_long_download(sequencer, files, tmp_path):
    content = picture(32, 16) + bytes(3_000_000)  # What follows a PNG's end is nobody's concern.
    url = files.serve("/x.png", File(content, etag='"v1"', stall_after=1_500_000), File(content, etag='"v1"'))
    sequencer.script("task_result_query", status("finished", result=url))
    environ = {"XALORA_API_KEY": KEY, "XALORA_WORKFLOW_URL": sequencer.url}
    with on_terminal("fetch", "t1", "-o", "x.png", home=tmp_path / "home", cwd=tmp_path, **environ) as terminal:
        terminal.until("/3.00M")
        files.released.set()
        assert terminal.wait() == 0
    assert "downloading:" in terminal.shown


def test_lines_elsewhere(command, sandbox):
    run = command("text2video", "x", *SMALL, "-o", "x.mp4", XALORA_API_KEY=KEY, XALORA_WORKFLOW_URL=sandbox.url)
    assert run.wait() == 0
    assert "\r" not in run.errors()
    assert "\x1b" not in run.errors()
    *_, downloaded, done = run.errors().splitlines()
    assert downloaded.startswith("downloaded ")
    assert re.fullmatch(r"done · 0:\d\d · 64×48 · 5 frames", done)


def test_bars_are_taken_away_again(xalora, scripted, files, monkeypatch):
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
    *bars, done, end = re.split(r"[\r\n]", screen.getvalue())
    assert (bars[-1].strip(), end) == ("", "")
    assert re.fullmatch(r"done · 0:\d\d · \d+×\d+", done)


def test_a_bar_of_the_miners_progress(sequencer, files, tmp_path):
    """With what it works on, and with the time, which goes on counting while the server has nothing new."""
    steps = {"value": 12, "maximum": 30, "title": "KSampler"}
    more = threading.Event()
    url = files.serve("/x.png", File(picture(32, 16)))

    def at_last(_):
        more.wait(20)
        return status("finished", result=url)

    sequencer.script("task_result_query", status("running", progress=steps), at_last)
    environ = {"XALORA_API_KEY": KEY, "XALORA_WORKFLOW_URL": sequencer.url}
    with on_terminal("fetch", "t1", "-o", "x.png", home=tmp_path / "home", cwd=tmp_path, **environ) as terminal:
        terminal.until("running 0:00 · KSampler 12 / 30  40%|")
        terminal.until("running 0:03 · KSampler 12 / 30  40%|")
        more.set()
        assert terminal.wait() == 0


def test_the_last_line_says_where_the_result_is_not_what_was_asked_for(xalora, scripted, files):
    asked = {"parameters": {"width": 64, "height": 48, "length": 5}}
    scripted.script("task_result_query", status("finished", result=f"{files.url}/result.png", task_details=asked))
    done = xalora("fetch", "t1", "-o", "x.png").err.splitlines()[-1]
    assert re.fullmatch(r"done · 0:\d\d · 32×16, asked for 64×48 · 1 frame, asked for 5", done)


def test_quiet_and_log(xalora, scripted, files, monkeypatch):
    """Nothing but the result; or what is done, by the flag or the variable."""
    url = files.serve("/x.png", File(picture(8, 8)))
    scripted.script("task_result_query", status("running"), status("finished", result=url))
    quiet = xalora("fetch", "t1", "-o", "a.png", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "a.png\n", "")
    verbose = xalora("status", "t1", "-v")
    assert (verbose.code, "INFO" in verbose.err) == (0, False)
    monkeypatch.setenv("XALORA_LOG", "Debug")
    assert "DEBUG http" in xalora("status", "t1").err
    monkeypatch.setenv("XALORA_LOG", "loud")
    assert "XALORA_LOG" in xalora("status", "t1").err
