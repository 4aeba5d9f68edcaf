"""A server on this machine, however its address is written, behind a company's proxies that know nothing of it."""

from __future__ import annotations

import pytest

from tests.support.command_line import SMALL, picture
from tests.support.sandbox_process import SandboxProcess
from xalora_client.cli import main

ADDRESSES = {
    "[::1]": "::1",
    "[0:0:0:0:0:0:0:1]": "::1",
    "localhost": "127.0.0.1",
    "127.0.0.1": "127.0.0.1",
    "[::ffff:127.0.0.1]": "127.0.0.1",
    "[::FFFF:7f00:1]": "127.0.0.1",
}
"""What stands in the address, and where the server listens."""


@pytest.fixture(params=ADDRESSES)
def address(request, tmp_path, monkeypatch):
    server = SandboxProcess(tmp_path / "server", "--host", ADDRESSES[request.param])
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    url = f"http://{request.param}:{server.url.rpartition(':')[2]}"
    monkeypatch.setenv("XALORA_API_KEY", "me#some-long-key")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", url)
    yield url
    server.close()


def test_the_commands_reach_it(address, tmp_path):
    (tmp_path / "cat.png").write_bytes(picture())
    assert main(["text2video", "a rabbit", *SMALL, "-o", "rabbit.mp4"]) == 0
    assert main(["upscale", "cat.png", "-o", "large.png"]) == 0
    assert {each.name for each in tmp_path.glob("*.*g*")} >= {"cat.png", "large.png"}


def test_the_doctor_does_what_they_do(address, capsys):
    main(["doctor"])
    assert f"ok       server: {address} is a Xalora sandbox" in capsys.readouterr().out
