"""`xalora login` takes a key without showing it."""

from __future__ import annotations

import getpass
import io
import json
import stat
import sys

import pytest

from tests.support.command_line import on_terminal
from tests.support.fake_sequencer import Answer, status
from tests.support.subject import KEY, SECRET
from xalora_client import config
from xalora_client.config import validation


@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_from_stdin_for_the_owner_alone(command, sequencer, tmp_path, as_json):
    path = tmp_path / "home" / "config.json"
    done = command("login", "--url", sequencer.url, *["--json"] * as_json, stdin=f"{KEY}\n")
    assert done.wait() == 0, done.errors()
    assert done.output().strip() == (json.dumps({"path": str(path)}) if as_json else f"Stored in {path}")
    assert SECRET not in done.output() + done.errors()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    later = command("cancel", "t1")
    assert later.wait() == 0, later.errors()
    assert sequencer.seen[0].body["api_key"] == SECRET


def test_each_server_keeps_its_own_key(xalora, monkeypatch):
    """Also where one is named for another purpose. A sequencer of one's own may need no key."""
    monkeypatch.delenv("XALORA_API_KEY")

    def log_in(*arguments, typed):
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        assert xalora("login", *arguments).code == 0
        loaded = config.load()
        return loaded.workflow_url, loaded.credentials and loaded.credentials.consumer_id

    network = validation.DEFAULT_URL
    assert log_in(typed="of-the-network#1\n") == (network, "of-the-network")
    assert log_in("--url", "gpu-box", typed="of-the-box#2\n") == ("http://gpu-box:8787", "of-the-box")
    assert log_in("--url", network, "--bucket", "s3://a", typed="\n" * 4) == (network, "of-the-network")
    assert log_in("--url", "open-box:99", typed="\n") == ("http://open-box:99", "nobody")
    assert log_in("--url", "http://GPU-box:8787/", typed="\n") == ("http://gpu-box:8787", "of-the-box")


def test_a_task_stays_within_reach_after_a_login_elsewhere(xalora, sequencer, monkeypatch):
    monkeypatch.delenv("XALORA_API_KEY")
    sequencer.script("task_create", Answer({"task_id": "t1"}))
    sequencer.script("task_result_query", status("running"))
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\nother#key\n"))
    assert xalora("login", "--url", sequencer.url).code == 0
    assert xalora("text2video", "a rabbit", "--no-wait").code == 0
    assert xalora("login", "--url", "gpu-box:1").code == 0
    assert xalora("status", "t1").code == xalora("cancel", "t1").code == 0
    assert {seen.body["api_key"] for seen in sequencer.seen if seen.path != "/"} == {SECRET}
    assert [seen.path for seen in sequencer.seen].count("/task_create") == 1


@pytest.mark.parametrize("typed", ["", "\n", "nonsense\n", "#\n"])
def test_what_is_no_key_is_refused(xalora, tmp_path, monkeypatch, typed):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\n"))
    assert xalora("login").out == f"Stored in {tmp_path / 'home' / 'config.json'}\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    refused = xalora("login", "--json")
    assert refused.code == 2
    assert "consumer#key" in refused.json["message"]
    assert json.loads((tmp_path / "home" / "config.json").read_text())["api_key"] == KEY


def test_googles_key_file_is_found_from_everywhere(xalora, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    for path in (tmp_path / "user" / "key.json", tmp_path / "key.json"):
        path.write_text("{}")
    for typed, file in (("~/key.json", tmp_path / "user" / "key.json"), ("key.json", tmp_path / "key.json")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{typed}\n"))
        assert xalora("login", "--bucket", "gs://name").code == 0
        assert config.load().bucket_options == {"service_account": str(file)}
    monkeypatch.setattr(sys, "stdin", io.StringIO("elsewhere.json\n"))
    assert "no such file" in xalora("login", "--bucket", "gs://name").err
    assert "is not the address of a bucket" in xalora("login", "--bucket", "gs://name/a b").err


def test_on_a_terminal_the_key_is_not_shown(tmp_path):
    with on_terminal("login", home=tmp_path / "home", cwd=tmp_path) as terminal:
        terminal.until("API key")
        terminal.write(f"{KEY}\n")
        assert terminal.wait() == 0
    assert SECRET not in terminal.shown
    assert json.loads((tmp_path / "home" / "config.json").read_text())["api_key"] == KEY


def test_no_key_typed_at_the_prompt(xalora, monkeypatch):
    monkeypatch.setattr(getpass, "getpass", lambda _: "")
    monkeypatch.setattr(sys, "stdin", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})())
    assert xalora("login").code == 2
