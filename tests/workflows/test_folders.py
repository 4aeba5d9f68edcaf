"""Folders of workflow files, and the files that come with the project."""

from __future__ import annotations

import json

import pytest

from tests.support.object_infos import node
from xalora_client import ConfigurationError, FluxLoraTask, Text2VideoTask
from xalora_client.workflows import (
    READY_FOLDER,
    SMALL_FOLDER,
    Workflow,
    check,
    copy_shipped,
    read_folder,
    try_folder,
)
from xalora_client.workflows.file import read_workflow

GOOD = json.dumps({"1": node("Save", filename_prefix="x")})


def test_a_file_is_named_after_its_task(tmp_path):
    for name in ("txt2vid.1.json", "upscaler.json", ".hidden.json", "notes.txt"):
        (tmp_path / name).write_text(GOOD)
    first, second = read_folder(tmp_path)
    assert (*first.key, first.name, first.file.name) == (
        "txt2vid",
        "1",
        "txt2vid.1",
        "txt2vid.1.json",
    )
    assert (*second.key, second.name) == ("upscaler", None, "upscaler")


@pytest.mark.parametrize("name", ["a.b.c.json", "a b.json", ".1.json", "a..json", "ä.json", "a.JSON"])
def test_another_name_is_refused(name):
    with pytest.raises(ConfigurationError, match="Name it <task_type>"):
        Workflow.from_nodes(name, json.loads(GOOD))


def test_a_name_from_the_network_is_no_path():
    assert Workflow.from_nodes("../../etc/txt2vid.1.json", json.loads(GOOD)).name == "txt2vid.1"
    with pytest.raises(ConfigurationError):
        Workflow.from_nodes("..\\txt2vid.1.json", json.loads(GOOD))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"nodes": [], "links": []}', r"in the editor's format.*Export \(API\)"),
        ("{}", "this is not a workflow"),
        ("[]", "this is not a workflow"),
        ('{"prompt": {"1": {}}}', "'prompt' is not a node with class_type and inputs"),
        ('{"1": {"class_type": "Save", "inputs": []}}', "'1' is not a node"),
        ('{"1": {"class_type": "Save", "inputs": {}, "_meta": 1}}', "'1' is not a node"),
        ("not JSON", "this is not JSON"),
        ('{"1": NaN}', "NaN is not a number that JSON has"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_other_contents_are_refused_with_the_way_out(tmp_path, text, said):
    file = tmp_path / "upscaler.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said) as refused:
        read_workflow(file)
    assert str(refused.value).startswith("upscaler.json: ")


def editors(*nodes, **subgraphs):
    """A workflow in the editor's format."""
    definitions = {"subgraphs": [{"id": name, **definition} for name, definition in subgraphs.items()]}
    return {"nodes": list(nodes), "definitions": definitions}


INNER = {"nodes": [{"id": 2, "type": "KSampler", "title": "input:seed"}]}


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (
            editors({"id": 1, "type": "a", "title": "input:prompt"}, a=INNER),
            "node 1 (input:prompt) is a subgraph: title",
        ),
        (
            editors({"id": 1, "type": "a"}, a={"name": "output", **INNER}),
            "node 1 (output) is a subgraph: title the nodes",
        ),
        (
            editors({"id": 1, "type": "a"}, a={"nodes": [{"id": 5, "type": "b", "title": "my input：x"}]}, b=INNER),
            "node 1:5 (my input：x) is a subgraph",
        ),
        (editors({"id": 1, "type": "workflow>my", "title": "input:x"}), "node 1 (input:x) is a group node: title"),
        (editors({"id": 1, "type": "workflow/my", "title": "(input:x)"}), "node 1 ((input:x)) is a group node"),
        (editors({"id": 1, "type": "KSampler", "title": "input:seed", "mode": 4}), "is bypassed: switch it on"),
        (editors({"id": 1, "type": "a", "mode": 2}, a=INNER), "node 1:2 (input:seed) is in the muted node 1: switch"),
        (
            editors({"id": 1, "type": "a", "mode": 2}, a={"nodes": [{"id": 3, "type": "b"}]}, b=INNER),
            "node 1:3:2 (input:seed) is in the muted node 1",
        ),
        (editors({"id": 1, "type": "PrimitiveNode", "title": "input:seed"}), "title the node that it leads to"),
        (editors({"id": 1, "type": "Reroute", "title": "input:image"}), "is only in the editor (Reroute)"),
    ],
    ids=str,
)
def test_titles_that_an_export_would_lose_are_named(tmp_path, graph, said):
    with pytest.raises(ConfigurationError) as refused:
        Workflow.from_nodes("upscaler.json", graph)
    words = str(refused.value)
    assert (words.count("whose export would lose titles"), said in words, "Export (API)" in words) == (1, True, True)


@pytest.mark.parametrize(
    "graph",
    [
        editors({"id": 1, "type": "KSampler", "title": "input:seed"}),
        editors({"id": 1, "type": "a", "title": "plain"}, a=INNER),
        editors({"id": 1, "type": "Note", "title": "input:x is explained here"}),
        editors(
            {"id": 0, "type": "a", "mode": 2}, {"id": 1, "type": "b"}, b={"nodes": [{"id": 7, "type": "a"}]}, a=INNER
        ),
        editors({"id": 1, "type": "a"}, a={"nodes": [{"id": 2, "type": "a"}]}),
        editors(7, None, {"id": [], "type": {}, "title": 5, "mode": []}, {"title": "input:x"}),
        {"nodes": [{"type": "a"}], "definitions": [{"subgraphs": 3}]},
        {"nodes": [{"type": "a"}], "definitions": {"subgraphs": [3, {"id": []}, {"id": "a", "nodes": {"x": 1}}]}},
    ],
    ids=str,
)
def test_others_are_not_and_no_shape_is_too_strange(graph):
    with pytest.raises(ConfigurationError) as refused:
        Workflow.from_nodes("upscaler.json", graph)
    assert "lose" not in str(refused.value)


def test_subgraphs_within_subgraphs_are_looked_at_once():
    """Each of forty is twice in the one before: a million millions in all."""
    twice = {f"s{n}": {"nodes": [{"id": 1, "type": f"s{n + 1}"}, {"id": 2, "type": f"s{n + 1}"}]} for n in range(40)}
    graph = editors({"id": 1, "type": "s0"}, **twice, s40={"nodes": [{"id": 3, "type": "Reroute", "title": "input:x"}]})
    with pytest.raises(ConfigurationError, match="is only in the editor"):
        Workflow.from_nodes("upscaler.json", graph)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "upscaler.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="this is not JSON"):
        read_folder(tmp_path)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "upscaler.json").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert read_folder(tmp_path)[0].name == "upscaler"


@pytest.mark.parametrize("name", ["upscaler.JSON", "txt2vid.1.Json"])
def test_a_name_in_capitals_is_refused_not_passed_over(tmp_path, name):
    (tmp_path / name).write_text(GOOD)
    assert [each.file.name for each in try_folder(tmp_path)[1]] == [name]


def test_all_faults_of_a_folder_are_said_at_once(tmp_path):
    for name, text in {"a.json": "{}", "b.1.2.json": GOOD, "good.json": GOOD}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=r"a\.json: .*; b\.1\.2\.json: "):
        read_folder(tmp_path)
    workflows, faults = try_folder(tmp_path)
    assert ([each.name for each in workflows], [each.file.name for each in faults]) == (
        ["good"],
        ["a.json", "b.1.2.json"],
    )


def test_a_folder_without_files_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="has no workflow files"):
        read_folder(tmp_path)
    with pytest.raises(ConfigurationError, match="There is no folder"):
        read_folder(tmp_path / "none")


@pytest.mark.parametrize("folder", [READY_FOLDER, SMALL_FOLDER], ids=lambda folder: folder.name)
def test_shipped_files_take_what_the_tasks_send(folder):
    """As far as it can be told without a ComfyUI; tests/comfyui compares them with real ones."""
    found = {each.name: check(each, None) for each in read_folder(folder)}
    assert {name: [str(fault) for fault in each.faults] for name, each in found.items()} == {name: [] for name in found}
    video = {name for name, _, _ in Text2VideoTask.rules()}
    image = {name for name, _, _ in FluxLoraTask.rules()} - {"aspect_ratio"}  # No core node takes one by name.
    assert {name: set(each.parameters) - {"strength_model"} for name, each in found.items()} == {
        "txt2vid.1": video,
        "txt2vid.2": video,
        "txt2img.3": image,
        "upscaler": {"image"},
    }


@pytest.mark.parametrize("small", [False, True])
def test_shipped_files_are_copied_and_nothing_is_overwritten(tmp_path, small):
    target = tmp_path / "new" / "folder"
    copied = copy_shipped(target, small=small)
    assert [each.nodes for each in read_folder(target)] == [
        each.nodes for each in read_folder(SMALL_FOLDER if small else READY_FOLDER)
    ]
    copied[0].write_text("mine")
    copied[1].unlink()
    with pytest.raises(ConfigurationError, match="already"):
        copy_shipped(target, small=small)
    assert copied[0].read_text() == "mine"
    assert not copied[1].exists()
