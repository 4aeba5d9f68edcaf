"""`xalora sandbox`: where it listens, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from contextlib import closing

import pytest
import requests

from tests.support.pictures import png
from tests.support.processes import PATIENCE, poll
from xalora_client.cli import main


def test_its_ready_line(sandbox):
    assert re.fullmatch(r"Xalora sandbox listening on http://127\.0\.0\.1:\d+", sandbox.ready)


def test_ctrl_c_ends_it(command):
    server = command("sandbox", "--port", 0)
    assert server.first_line().startswith("Xalora sandbox listening on ")
    server.interrupt()
    assert server.wait() == 130
    assert "Traceback" not in server.errors()


@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_ctrl_c_ends_it_in_this_process(capsys, tmp_path, as_json):
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


def test_where_it_listens_and_keeps_things(command, tmp_path):
    server = command("sandbox", "--host", "localhost", "--port", 0, "--data", "here", "--workers", 1)
    assert server.first_line().startswith("Xalora sandbox listening on http://localhost:")
    assert (tmp_path / "here").is_dir()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workers", "0"],
        ["--render-seconds", "-1"],
        ["--fail", "1.5"],
        ["--fail", "nan"],
        ["--fail", "some"],
        ["--port", "99999"],
        ["--host", "203.0.113.1", "--port", "0"],
    ],
    ids=" ".join,
)
def test_what_it_cannot_do(xalora, arguments):
    refused = xalora("sandbox", *arguments, "--json")
    assert refused.code == 2
    assert refused.json["error"] in ("ConfigurationError", "InvalidParameterError")


def test_a_port_in_use(xalora, tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        refused = xalora("sandbox", "--port", other.getsockname()[1], "--data", tmp_path / "data")
    assert refused.code == 2
    assert "cannot listen" in refused.err


def test_tasks_that_fail_on_request(command, xalora, tmp_path, monkeypatch):
    server = command("sandbox", "--port", 0, "--data", "here", "--fail", 1)
    monkeypatch.setenv("XALORA_WORKFLOW_URL", server.first_line().rpartition(" ")[2])
    (tmp_path / "photo.png").write_bytes(png())
    failed = xalora("upscale", "photo.png", "-o", "larger.png", "--json")
    assert failed.code == 1
    assert "the sandbox was asked to fail some of its tasks, by --fail 1" in failed.out
