"""What saved workflows, the editor and reviewers depend on. In ``snapshot.json``, only append."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT

NODE_IDS = [
    "XaloraText2Video",
    "XaloraUpscale",
    "XaloraTaskStatus",
    "XaloraFluxLora",
    "XaloraRunWorkflow",
    "XaloraCancelTask",
]
COMFYUI_MODULES = {
    "comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "server", "latent_preview",
}  # fmt: skip
NODE_FILES = sorted((ROOT / "nodes").rglob("*.py"))


def face(pack: Any, node_id: str) -> dict[str, Any]:
    """The part of a node that workflows depend on."""
    cls = pack.classes[node_id]
    kinds = cls.INPUT_TYPES()
    told: dict[str, Any] = {"display_name": pack.module.NODE_DISPLAY_NAME_MAPPINGS[node_id]}
    for section in ("required", "optional"):
        told[section] = [[name, spec[0], spec[1].get("default")] for name, spec in kinds.get(section, {}).items()]
    told["outputs"] = [list(each) for each in zip(cls.RETURN_NAMES, cls.RETURN_TYPES, strict=True)]
    return told


def test_ids_inputs_and_outputs_are_frozen(pack: Any) -> None:
    frozen = json.loads(Path(__file__).with_name("snapshot.json").read_text())
    assert {node_id: face(pack, node_id) for node_id in pack.classes} == frozen
    assert list(pack.classes) == NODE_IDS == list(pack.module.NODE_DISPLAY_NAME_MAPPINGS)


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_node_explains_itself(pack: Any, node_id: str) -> None:
    cls = pack.classes[node_id]
    assert cls.CATEGORY == "Xalora"
    assert cls.DESCRIPTION.endswith(".")
    assert len(cls.SEARCH_ALIASES) >= 3
    assert all(alias == alias.lower() for alias in cls.SEARCH_ALIASES)
    assert len(cls.OUTPUT_TOOLTIPS) == len(cls.RETURN_TYPES) == len(cls.RETURN_NAMES)
    assert all(tip.endswith(".") for tip in cls.OUTPUT_TOOLTIPS)
    for name, (_, options) in pack.inputs(node_id).items():
        assert options["tooltip"].endswith("."), name
    assert not hasattr(cls, "API_NODE")


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_node_can_be_called_with_its_inputs(pack: Any, node_id: str) -> None:
    cls = pack.classes[node_id]
    function = getattr(cls, cls.FUNCTION)
    assert inspect.iscoroutinefunction(function)
    hidden = cls.INPUT_TYPES().get("hidden", {})
    parameters = list(inspect.signature(function).parameters)[1:]
    assert parameters == [*pack.inputs(node_id), *hidden]
    optional = cls.INPUT_TYPES().get("optional", {})
    for name, spec in optional.items():
        # A workflow from before the input was there runs as the widget would have said.
        assert inspect.signature(function).parameters[name].default == spec[1]["default"]


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_no_widget_takes_a_key_a_url_or_a_path(pack: Any, node_id: str) -> None:
    for name in pack.inputs(node_id):
        assert not {"key", "token", "secret", "password", "url", "host", "path", "file", "folder", "directory"} & set(
            name.split("_")
        )


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_numbers_have_sensible_ranges(pack: Any, node_id: str) -> None:
    for name, (kind, options) in pack.inputs(node_id).items():
        if kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"], name
            assert options["max"] <= 2**53 - 1
        if name == "seed":
            assert (options["min"], options["max"], options["control_after_generate"]) == (0, 2**53 - 1, True)


def imports_of(file: Path) -> list[tuple[int, str]]:
    """Each import as level of dots and name, those inside functions too."""
    found: list[tuple[int, str]] = []
    for part in ast.walk(ast.parse(file.read_text())):
        if isinstance(part, ast.Import):
            found += [(0, alias.name) for alias in part.names]
        elif isinstance(part, ast.ImportFrom):
            found.append((part.level, part.module or ""))
    return found


@pytest.mark.parametrize("file", [ROOT / "__init__.py", *NODE_FILES], ids=lambda file: file.name)
def test_imports_inside_the_pack_are_relative(file: Path) -> None:
    own = {path.stem for path in NODE_FILES} | {"nodes", "xalora_client"}
    assert [name for level, name in imports_of(file) if not level and name.partition(".")[0] in own] == []


@pytest.mark.parametrize("file", NODE_FILES, ids=lambda file: file.name)
def test_one_folder_knows_comfyui_and_one_file_torch(file: Path) -> None:
    tops = {name.partition(".")[0] for level, name in imports_of(file) if not level}
    assert file.parent == ROOT / "nodes" / "comfy" or not tops & COMFYUI_MODULES
    assert file.name == "tensors.py" or "torch" not in tops


def test_the_root_is_mappings_and_nothing_else(pack: Any) -> None:
    assert set(pack.module.__all__) <= {"NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"}


def test_loading_brings_no_http_library_no_decoder_and_no_torch() -> None:
    """They are loaded at the first run; ComfyUI would otherwise start later for everybody."""
    script = (
        "import importlib.util, json, sys\n"
        "spec = importlib.util.spec_from_file_location('a-pack', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "sys.modules['a-pack'] = module\n"
        "spec.loader.exec_module(module)\n"
        "print(json.dumps(list(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, ROOT / "__init__.py"], check=True, capture_output=True, text=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"torch", "numpy", "av", "PIL", "aiohttp", "requests", "dotenv", "platformdirs", "sqlite3"}
    assert done.stderr == ""
