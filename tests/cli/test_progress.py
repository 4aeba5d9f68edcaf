"""Bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import sys

from command_line import SMALL, on_terminal, picture
from file_server import File
from sequencer import status
from subject import KEY, SECRET


def test_a_bar_on_a_terminal(sandbox, tmp_path):
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
    assert run.errors().splitlines()[-1].startswith("downloaded ")


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
    assert screen.getvalue().endswith("\r")
