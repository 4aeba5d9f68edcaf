"""Lists of what a sequencer's miners run, in the editor. The texts beside them stay texts; nothing else is saved."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.cluster import KEY, MINER_KEY, SequencerProcess
from tests.support.comfyui_process import ComfyUIProcess
from tests.support.fake_miner import IMAGE, FakeMiner, workflow
from tests.support.loopback import deaf_url
from tests.support.sandbox_process import SandboxProcess

LORA = [{"name": "prompt", "kind": "text"}, {"name": "lora_name", "kind": "choice", "choices": ["fox", "sub/hare.pt"]}]
RUNS = [workflow("txt2img.3", LORA), workflow("upscaler", IMAGE) | {"models": ["4x.pth"], "factor": 4}, "txt2vid.1"]
NODES = ("XaloraFluxLora", "XaloraRunWorkflow", "XaloraUpscale")

_ADDED = """([node, type]) => {
    const found = app.graph.getNodeById(node).widgets.find(({name}) => name === 'xalora_' + type);
    return found && {label: found.label, value: found.value, values: found.options.values};
}"""
_CHOOSE = """([node, value]) => {
    const list = app.graph.getNodeById(node).widgets.find(({name}) => name === 'xalora_combo');
    list.value = value;
    list.callback(value);
}"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SequencerProcess]:
    """A sequencer."""
    process = SequencerProcess(tmp_path_factory.mktemp("told"))
    yield process
    process.close()


def test_lists_set_texts_and_nothing_more_is_saved_or_sent(
    any_editor: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any], told: SequencerProcess
) -> None:
    any_editor.use(told.url, XALORA_API_KEY=KEY)
    with opening(any_editor) as editor:
        FakeMiner(told.url, *RUNS, key=MINER_KEY)  # Now: one that asks for nothing is gone soon.
        flux, run, upscale = (editor.add(name) for name in NODES)
        editor.page.wait_for_function(f"node => ({_ADDED})([node, 'combo'])", arg=flux)
        editor.page.wait_for_function(f"node => ({_ADDED})([node, 'text'])", arg=upscale)
        assert editor.js(_ADDED, [flux, "combo"])["values"] == ["fox", "sub/hare.pt"]
        assert editor.js(_ADDED, [run, "combo"])["values"] == ["txt2img.3", "txt2vid.1", "upscaler"]
        assert editor.js(_ADDED, [upscale, "text"])["value"] == "4×, 4x.pth"
        editor.js(_CHOOSE, [flux, "sub/hare.pt"])
        editor.js(_CHOOSE, [run, "txt2vid.1"])
        assert editor.widgets(flux)["lora_name"] == "sub/hare.pt"
        assert [editor.widgets(run)[name] for name in ("task_type", "workflow_id")] == ["txt2vid", "1"]
        editor.js(_CHOOSE, [run, "upscaler"])
        assert [editor.widgets(run)[name] for name in ("task_type", "workflow_id")] == ["upscaler", ""]
        saved = editor.export()
        assert not [node for node in saved["output"].values() if any("xalora_" in name for name in node["inputs"])]
        assert "4x.pth" not in str(saved)

        unknown = f"mine-{secrets.token_hex(3)}"
        (node,) = (each for each in saved["workflow"]["nodes"] if each["type"] == "XaloraFluxLora")
        node["widgets_values"] = [unknown if value == "sub/hare.pt" else value for value in node["widgets_values"]]
        editor.load(saved["workflow"])
        editor.page.wait_for_function(f"node => ({_ADDED})([node, 'combo'])", arg=flux)
        assert editor.widgets(flux)["lora_name"] == unknown
        again = editor.export()
        assert again["output"][str(flux)]["inputs"]["lora_name"] == unknown
        values = [[each["widgets_values"] for each in one["workflow"]["nodes"]] for one in (saved, again)]
        assert values[0] == values[1]
        assert editor.problems == []


def test_without_a_server_that_tells_the_nodes_are_as_ever(
    any_editor: ComfyUIProcess, opening: Callable[[ComfyUIProcess], Any], sandbox: SandboxProcess
) -> None:
    with deaf_url() as deaf:
        settings = [(deaf, KEY), (sandbox.url, KEY), ("sandbox", ""), ("", KEY)]
    for url, key in settings:
        any_editor.use(url, XALORA_API_KEY=key)
        with opening(any_editor) as editor:
            nodes = [editor.add(name) for name in NODES]
            assert editor.js("async () => (await app.api.fetchApi('/xalora/workflows')).json()") == []
            editor.page.wait_for_timeout(500)
            assert not [name for node in nodes for name in editor.widgets(node) if name.startswith("xalora_")]
            assert editor.problems == []
