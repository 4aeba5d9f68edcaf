"""``xalora workflows check`` and ``xalora workflows copy``."""

from __future__ import annotations

import base64
import json

import pytest

from tests.support.fake_file_server import File
from tests.support.object_infos import node, object_info
from xalora_client.cli import main


@pytest.fixture
def xalora(capsys):
    """Run ``xalora workflows``; returns the exit code, stdout and stderr."""

    def run(*arguments):
        code = main(["workflows", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def comfyui(files):
    """A server that answers /object_info, and its address."""
    files.serve("/object_info", File(json.dumps(object_info()).encode()))
    return files.url


@pytest.fixture
def folder(tmp_path):
    """A folder with one workflow, whose fps a task may set."""
    nodes = {"1": node("Fps", "input:fps", fps=24), "2": node("Save", images=["1", 0], filename_prefix="x")}
    (tmp_path / "txt2vid.1.json").write_text(json.dumps(nodes))
    return tmp_path


def test_what_a_workflow_takes_is_shown_with_its_range(xalora, folder, comfyui):
    assert xalora("check", folder, "--comfyui", comfyui) == (
        0, "txt2vid.1\n  fps  a number from 1 to 120 (default 24)\n  result: node 2 (Save)\n", "",
    )  # fmt: skip


def test_without_a_comfyui_it_says_what_was_not_checked(xalora, folder):
    code, out, err = xalora("check", folder)
    assert (code, "fps  a number (default 24)" in out) == (0, True)
    assert "checked without a ComfyUI" in err


def test_what_is_wrong_is_said_and_the_exit_code_is_1(xalora, folder, comfyui):
    (folder / "a.json").write_text(json.dumps({"1": node("Magic", "My pack", filename_prefix="x")}))
    (folder / "b.json").write_text('{"nodes": []}')
    code, out, _ = xalora("check", folder, "--comfyui", comfyui)
    assert code == 1
    assert "a.json: node 1 (My pack): this ComfyUI has no node Magic" in out
    assert "b.json: this is a workflow in the editor's format" in out
    assert "fps  a number from 1 to 120" in out


def test_it_says_where_titles_are_lost_and_what_comes_out(xalora, folder, files, comfyui):
    info = object_info()
    info["Start"]["output"] = ["IMAGE"]
    files.serve("/object_info", File(json.dumps(info).encode()))
    nodes = {"1:2": node("Start"), "3": node("Save", images=["1:2", 0], filename_prefix="x")}
    (folder / "txt2vid.1.json").write_text(json.dumps(nodes))
    code, out, _ = xalora("check", folder, "--comfyui", comfyui)
    assert (code, "loses the titles of subgraph nodes: write input:NAME on a node inside" in out) == (0, True)
    assert "result: node 3 (Save), image\n" in out
    assert json.loads(xalora("check", folder, "--comfyui", comfyui, "--json")[1])["workflows"][0]["kind"] == "image"


def test_json_has_all_of_it_in_one_object(xalora, folder, comfyui):
    (folder / "b.json").write_text('{"nodes": []}')
    code, out, _ = xalora("check", folder, "--comfyui", comfyui, "--json")
    assert (code, out.count("\n")) == (1, 1)
    good, bad = json.loads(out)["workflows"]
    assert good == {
        "file": "txt2vid.1.json", "task_type": "txt2vid", "workflow_id": "1",
        "parameters": [{"name": "fps", "kind": "number", "default": 24, "minimum": 1.0, "maximum": 120.0}],
        "outputs": ["2"], "faults": [],
    }  # fmt: skip
    assert bad["file"] == "b.json"
    assert "Export (API)" in bad["faults"][0]["message"]


def test_a_password_in_the_address_is_sent_and_not_shown(xalora, folder, files, comfyui):
    address = comfyui.replace("http://", "http://me:secret@")
    assert xalora("check", folder, "--comfyui", f"{address}/")[0] == 0
    assert files.asked("authorization") == [f"Basic {base64.b64encode(b'me:secret').decode()}"]
    code, out, err = xalora("check", folder, "--comfyui", f"{address}/nothing/here")
    assert (code, "secret" in out + err) == (3, False)


@pytest.mark.parametrize("answer", [File(b"[]"), File(b"<html>"), File(b"{}", 500)])
def test_an_answer_of_something_else_is_an_error(xalora, folder, files, answer):
    files.serve("/object_info", answer)
    code, _, err = xalora("check", folder, "--comfyui", files.url)
    assert code == 3
    assert "did not answer as a ComfyUI does" in err


@pytest.mark.parametrize(("address", "exit_code"), [("http://127.0.0.1:1", 3), ("ftp://x", 2), ("", 2)])
def test_an_address_that_does_not_answer_is_an_error(xalora, folder, address, exit_code):
    code, out, err = xalora("check", folder, "--comfyui", address)
    assert (code, out) == (exit_code, "")
    assert "--comfyui" in err


def test_a_folder_that_is_not_there_is_an_error_of_usage(xalora, tmp_path):
    assert xalora("check", tmp_path / "none")[0] == 2


def test_shipped_files_are_copied_and_pass_the_check(xalora, tmp_path):
    code, out, _ = xalora("copy", tmp_path / "ready")
    assert (code, len(out.splitlines())) == (0, 4)
    assert xalora("check", tmp_path / "ready")[0] == 0
    code, out, _ = xalora("copy", tmp_path / "small", "--small", "--json")
    assert (code, len(json.loads(out)["files"])) == (0, 4)
    assert xalora("copy", tmp_path / "small", "--small")[0] == 2
