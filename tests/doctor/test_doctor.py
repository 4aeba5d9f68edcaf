"""``xalora doctor``: every part is tried, and what does not work says what to do."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.support.fake_sequencer import Answer
from tests.support.loopback import deaf_url
from xalora_client import config
from xalora_client.cli import main
from xalora_client.client.doctor import examine
from xalora_client.client.doctor.machine import OLDEST_COMFYUI
from xalora_client.client.doctor.network import check_key_is_set
from xalora_client.config.settings import change_settings
from xalora_client.config.validation import DEFAULT_URL
from xalora_client.errors import messages

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-key"
ABOUT = {"service": "Xalora sequencer", "instance": "x", "version": "9.9", "image_upload": True}


@pytest.fixture
def server(sequencer, monkeypatch):
    """A sequencer of ours, which knows no task."""
    sequencer.script("", Answer(ABOUT))
    sequencer.script("task_result_query", Answer({"message": "no such task"}, 404))
    monkeypatch.setenv("XALORA_API_KEY", f"consumer-1#{SECRET}")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", sequencer.url)
    return sequencer


def checks(**options):
    found = asyncio.run(examine(**options))
    assert SECRET not in repr(found)
    return {check.name: check for check in found}


def test_a_good_setup(server, tmp_path):
    found = checks(comfyui_version="0.33.0")
    assert {name: check.text for name, check in found.items() if check.status != "ok"} == {}
    assert "Xalora sequencer 9.9" in found["server"].text
    assert found["images to the miners"].text == "by an upload to the sequencer"
    assert found["key"].text == "set by the environment"
    assert set(found) >= {"clock", "ComfyUI", "disk", "memory", "media budget", "proxies", "key at the server"}


def test_no_key(server, monkeypatch):
    """A sequencer of one's own may need none. One that does says so."""
    monkeypatch.delenv("XALORA_API_KEY")
    found = checks()
    assert (found["key"].status, found["key at the server"].status) == ("ok", "ok")
    server.script("task_result_query", Answer({"message": "who is that"}, 401))
    refused = checks()["key at the server"]
    assert (refused.status, refused.text) == ("problem", "This sequencer needs a key")
    monkeypatch.setenv("XALORA_WORKFLOW_URL", DEFAULT_URL)
    key = check_key_is_set(config.load())
    assert (key.status, key.advice) == ("problem", messages.advice("no_key", {}, "library"))


@pytest.mark.parametrize("path", ["system_stats", "object_info"])
def test_comfyuis_own_address_is_named(server, path):
    server.script("", Answer(b"<!doctype html><title>ComfyUI</title>"))
    server.script("system_stats", Answer({}, 404))
    answers = {
        "system_stats": {"system": {"os": "posix"}, "devices": []},
        "object_info": {"KSampler": {"output_node": 0}},
    }
    server.script(path, Answer(answers[path]))
    found = checks()["server"]
    assert (found.status, found.text) == ("problem", f"That is ComfyUI's own address: {server.url}")
    assert "http://192.168.1.20:8787" in found.advice


def test_a_key_that_the_server_refuses(server):
    server.script("task_result_query", Answer({"message": f"bad key {SECRET}"}, 401))
    assert checks()["key at the server"].status == "problem"


def test_a_server_that_is_not_there(server, monkeypatch):
    with deaf_url() as url:
        monkeypatch.setenv("XALORA_WORKFLOW_URL", url)
        found = checks()
    assert found["server"].status == "problem"
    assert "clock" not in found
    assert "disk" in found
    assert "not known" in found["images to the miners"].text


@pytest.mark.parametrize("method", ["auto", "sequencer"])
def test_a_server_with_an_error_page_says_nothing_about_images(method, server, monkeypatch):
    server.script("", Answer({}, 502))
    monkeypatch.setenv("XALORA_IMAGE_DELIVERY", method)
    assert "not known" in checks()["images to the miners"].text


def test_certificates_that_cannot_be_read(server, tmp_path, monkeypatch):
    monkeypatch.setenv("XALORA_WORKFLOW_URL", server.url.replace("http:", "https:"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "not there.pem"))
    found = checks()
    assert (found["server"].status, "REQUESTS_CA_BUNDLE" in found["server"].advice) == ("problem", True)
    assert "disk" in found


@pytest.mark.parametrize(("seconds", "status"), [(5, "ok"), (90, "warning"), (3700, "problem"), (-3700, "problem")])
def test_a_clock_that_is_off(server, seconds, status, monkeypatch):
    import email.utils
    import time

    date = email.utils.formatdate(time.time() - seconds, usegmt=True)
    server.script("", Answer(ABOUT, headers={"Date": date}))
    clock = checks()["clock"]
    assert clock.status == status
    if status == "problem":
        assert ("ahead of" if seconds > 0 else "behind") in clock.text


def test_settings_that_conflict_are_one_problem_and_the_rest_is_still_looked_at(server, tmp_path, monkeypatch):
    monkeypatch.delenv("XALORA_API_KEY")
    config.store(tmp_path / "home", api_key=f"consumer-1#{SECRET}")
    found = checks()
    assert found["settings"].status == "problem"
    assert "disk" in found


def test_a_dotenv_that_cannot_be_read_is_one_problem_and_the_rest_is_still_looked_at(tmp_path, monkeypatch):
    monkeypatch.delenv("XALORA_HOME")
    (tmp_path / ".env").write_text("XALORA_API_KEY=me#k", encoding="utf-16")
    found = checks(fallback_home=tmp_path)
    assert found["settings"].status == "problem"
    assert "disk" in found


def test_no_upload_method_for_images(server, monkeypatch):
    server.script("", Answer({}, 404))
    monkeypatch.setenv("XALORA_IMAGE_DELIVERY", "bucket")
    found = checks()["images to the miners"]
    assert found.status == "problem"
    assert "XALORA_BUCKET" in found.advice


def test_the_oldest_comfyui_is_that_of_the_pack(server):
    assert f'requires-comfyui = ">={OLDEST_COMFYUI}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    old = checks(comfyui_version="0.3.9")["ComfyUI"]
    assert (old.status, OLDEST_COMFYUI in old.advice) == ("problem", True)


def test_another_copy_of_the_pack_in_comfyui(server, tmp_path, monkeypatch):
    comfyui = tmp_path / "ComfyUI"
    package = comfyui / "custom_nodes" / "xalora" / "xalora_client"
    package.mkdir(parents=True)
    (comfyui / "comfyui_version.py").write_text('__version__ = "0.33.0"\n')
    (package / "http").mkdir()
    (package / "http" / "__init__.py").write_text('__version__ = "0.0.1"\n')
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    found = checks()["ComfyUI"]
    assert found.status == "warning"
    assert "0.0.1" in found.text


def test_a_comfyui_without_the_pack_is_not_praised(server, tmp_path, monkeypatch):
    comfyui = tmp_path / "ComfyUI"
    (comfyui / "custom_nodes" / "another_pack").mkdir(parents=True)
    (comfyui / "comfyui_version.py").write_text('__version__ = "0.33.0"\n')
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    assert checks()["ComfyUI"].status == "warning"
    (comfyui / "custom_nodes" / "xalora").symlink_to(ROOT)
    assert checks()["ComfyUI"].status == "ok"


@pytest.mark.parametrize(("answer", "status"), [(503, "warning"), (200, "ok")])
def test_whether_a_miner_is_connected(server, answer, status):
    server.script("resource_request", Answer({"miner_id": "m"}, answer))
    assert checks()["miners"].status == status


@pytest.mark.parametrize(
    ("left_out", "text"),
    [
        (["a.1: no x", "b: no\ny"], "at least one is connected; none runs a.1: no x; none runs b: no y"),
        (["a"] * 50, "at least one is connected" + 5 * "; none runs a"),
        *[(strange, "at least one is connected") for strange in ([], None, "a.1", 5, [5], {"a": 1})],
    ],
    ids=repr,
)
def test_what_no_connected_miner_runs_is_told(server, left_out, text):
    server.script("resource_request", Answer({"miner_id": "m", "left_out": left_out}))
    found = checks()["miners"]
    assert (found.status, found.text) == ("ok", text)


def test_a_home_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XALORA_HOME", str(tmp_path / "file" / "home"))
    assert checks()["disk"].status == "problem"


def test_the_media_budget_is_the_one_in_force(server, home):
    assert checks()["media budget"].text == "0.00 of 5 GB used"
    change_settings(media_budget="0.25")
    (home / "media" / "ab").mkdir(parents=True)
    (home / "media" / "ab" / "abc.png").write_bytes(bytes(20_000_000))
    assert checks()["media budget"].text == "0.02 of 0.25 GB used"
    (home / "config.json").write_text("no settings")
    found = checks()
    assert (found["settings"].status, found["media budget"].text) == ("problem", "0.02 of 5 GB used")


def test_proxies_are_shown_without_passwords(server, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy-password@proxy.example:3128")
    found = checks()["proxies"]
    assert "proxy.example:3128" in found.text
    assert "proxy-password" not in found.text


def test_the_command(server, capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] in ("ok", "warning")
    assert {"name", "status", "text", "advice"} == set(found["checks"][0])
    server.script("task_result_query", Answer({"message": "no"}, 401))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^problem +key at the server: ", out, re.MULTILINE)
    assert SECRET not in out


@pytest.mark.parametrize("home", ["home", "new/home"])
def test_the_disk_is_tried_and_nothing_stays_behind(server, tmp_path, monkeypatch, home):
    monkeypatch.setenv("XALORA_HOME", str(tmp_path / home))
    assert checks()["disk"].status == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_no_command_can_use_is_a_problem(server, home):
    home.mkdir(exist_ok=True)
    (home / "ledger.sqlite3").write_bytes(b"no database at all, but long enough to be one" * 30)
    disk = checks()["disk"]
    assert (disk.status, "xalora repair" in disk.advice) == ("problem", True)
    assert [path.name for path in home.iterdir()] == ["ledger.sqlite3"]
