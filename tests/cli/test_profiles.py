"""Several accounts and servers by name, and what helps somebody who types."""

from __future__ import annotations

import io
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_sequencer import Answer, status
from xalora_client import Client, ConfigurationError
from xalora_client.config.validation import DEFAULT_URL


@pytest.fixture
def studio(xalora, sequencer, monkeypatch):
    """A profile for a server, where other settings are in force."""
    monkeypatch.setenv("XALORA_PROFILE", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO("artist#studio-key\n"))
    assert xalora("login", "--profile", "studio", "--url", sequencer.url).code == 0
    monkeypatch.setenv("XALORA_PROFILE", "")
    sequencer.script("task_result_query", status("running"))
    return sequencer


def test_its_key_and_server_stay_together_whatever_else_is_set(xalora, studio, monkeypatch, tmp_path):
    monkeypatch.setenv("XALORA_WORKFLOW_URL", "http://127.0.0.1:9")
    path = tmp_path / "home" / "profiles" / "studio.json"
    assert (stat.S_IMODE(path.stat().st_mode), json.loads(path.read_text())["api_key"]) == (0o600, "artist#studio-key")
    assert xalora("status", "t1", "--profile", "studio").code == 0
    monkeypatch.setenv("XALORA_PROFILE", "studio")
    assert xalora("status", "t1").code == 0
    with Client() as client:
        assert client.query_task_result("t1").status == "running"
    assert {seen.body["api_key"] for seen in studio.seen} == {"studio-key"}
    assert len(studio.seen) == 3


def test_one_without_a_server_is_of_the_public_network(xalora, sequencer, monkeypatch):
    monkeypatch.setenv("XALORA_WORKFLOW_URL", sequencer.url)
    monkeypatch.setenv("XALORA_PROFILE", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO("artist#studio-key\n"))
    assert xalora("login", "--profile", "network").code == 0
    with Client() as client:
        assert (client.config.workflow_url, client.config.key_source) == (DEFAULT_URL, "stored")


def test_an_empty_name_is_refused_before_anything_is_stored_or_sent(xalora, studio, tmp_path):
    assert xalora("status", "t1", "--profile", "").code == 2
    assert xalora("login", "--profile", "").code == 2
    assert studio.seen == []
    assert not (tmp_path / "home" / "config.json").exists()


@pytest.mark.parametrize("name", ["unknown", "../config", "a/b", ".hidden", "x" * 100])
def test_a_wrong_name_is_said_and_nothing_sent(xalora, studio, monkeypatch, name):
    monkeypatch.setenv("XALORA_PROFILE", name)
    refused = xalora("status", "t1")
    assert (refused.code, studio.seen) == (2, [])
    assert name[:20] in refused.err
    with pytest.raises(ConfigurationError):
        Client()


def test_the_usual_settings_are_not_those_of_a_profile(xalora, studio, monkeypatch, tmp_path):
    monkeypatch.delenv("XALORA_API_KEY")
    assert "No API key" in xalora("status", "t1").err
    assert not (tmp_path / "home" / "config.json").exists()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["text2vide", "x"], "text2video"),
        (["upscal", "x"], "upscale"),
        (["text2video", "x", "--widht", "64"], "--width"),
        (["sandbox", "--prot", "1"], "--port"),
        (["workflows", "chek"], "check"),
        (["tasks", "--state", "finnished"], "finished"),
        (["completion", "bsh"], "bash"),
    ],
)
def test_what_was_meant_is_said(xalora, typed, meant):
    refused = xalora(*typed)
    assert refused.code == 2
    assert f"Did you mean {meant}?" in refused.err


@pytest.mark.parametrize(
    ("alias", "command"), [("txt2vid", "text2video"), ("upscaler", "upscale"), ("txt2img", "flux-lora")]
)
def test_the_kinds_of_tasks_are_commands_too(xalora, alias, command):
    assert xalora(alias, "--help").out.splitlines()[2:] == xalora(command, "--help").out.splitlines()[2:]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(xalora, shell):
    script = xalora("completion", shell).out
    for word in ("text2video", "txt2vid", "workflows", "--dry-run", "--at-once", "finished"):
        assert word.lstrip("-") in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    Path("script").write_text(script)
    assert subprocess.run([shell, "-n", "script"], capture_output=True, text=True, check=False).stderr == ""
    if shell == "bash":
        ask = (
            'source ./script; COMP_WORDS=(xalora text2video --dr); COMP_CWORD=2; _shtab_xalora; echo "${COMPREPLY[@]}"'
        )
        found = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False)
        assert found.stdout.split() == ["--dry-run"], found.stderr


def test_errors_in_json_say_what_to_do(xalora, scripted):
    scripted.script("task_create", Answer({"message": "no money"}, 402))
    error = xalora("text2video", "a fox", "-o", "x.mp4", "--json").json
    assert {name: error[name] for name in ("error", "status_code", "exit_code", "remedy")} == {
        "error": "PaymentRequiredError", "status_code": 402, "exit_code": 3, "remedy": "top-up",
    }  # fmt: skip
    assert error["advice"] in error["message"]
    assert error["advice"]
