"""The code is what CONTRIBUTING.md's map shows: imports point one way, and files are short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.public_modules import PUBLIC

ROOT = Path(__file__).parents[1]

LAYERS = [
    "errors/",
    "status_parts.py",
    "threads.py",
    "storage/",
    "protocol/",
    "http/",
    "config/",
    "workflows/",
    "ledger/",
    "uploads/",
    "media/",
    "sequencer/",
    "client/",
    "__init__.py",
    "testing.py",
    "miner/",
    "cli/",
    "__main__.py",
]
"""What ``xalora_client`` consists of, from the bottom up: each imports only what stands before it, and itself."""

HOST = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "nodes", "server"}
"""ComfyUI's top-level modules."""

SDK = sorted((ROOT / "xalora_client").rglob("*.py"))
NODES = sorted((ROOT / "nodes").rglob("*.py"))
SHIPPED = [ROOT / "__init__.py", *NODES, *SDK]
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str, str]]:
    """Every import in a file, also in functions and for the type checker: level, module, imported name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, each.name, "") for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, node.module or "", each.name) for each in node.names)


def imported(path: Path) -> Iterator[Path]:
    """The files of the pack that a file imports."""
    for level, module, name in imports(path):
        if level:
            folder = path.parents[level - 1].joinpath(*filter(None, module.split(".")))
            candidates = [folder / f"{name}.py", folder / name / "__init__.py", folder.with_suffix(".py")]
            yield next((each for each in candidates if each.is_file()), folder / "__init__.py")


def layer(path: Path) -> int | None:
    """How high a file of the SDK stands; None for a folder's ``__init__.py`` that is none of the layers."""
    inside = path.relative_to(ROOT / "xalora_client").as_posix()
    found = [number for number, each in enumerate(LAYERS) if inside == each or inside.startswith(each)]
    if not found and any(each.startswith(inside.removesuffix("__init__.py")) for each in LAYERS):
        return None
    assert found, f"{named(path)} is in no layer: add it to LAYERS and to the map in CONTRIBUTING.md"
    return found[-1]


def test_imports_of_the_sdk_point_down():
    upward = [
        f"{named(path)} imports {named(target)}"
        for path in SDK
        for target in imported(path)
        if (here := layer(path)) is not None and (there := layer(target)) is not None and there > here
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {named(path): {named(target) for target in imported(path)} - {named(path)} for path in SHIPPED}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_nodes_use_public_names_of_the_sdk_alone():
    around = [
        f"{named(path)} imports {name} from {module}"
        for path in NODES
        for level, module, name in imports(path)
        if level and module.startswith("xalora_client") and name not in PUBLIC.get(module, ())
    ]
    assert around == []


def test_texts_use_public_names_of_the_sdk_alone():
    texts = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
    shown = re.findall(r"^ *from (xalora_client[\w.]*) import (.*)$", texts, re.MULTILINE)
    assert shown
    assert [found for found in shown if not {*re.findall(r"\w+", found[1])} <= {*PUBLIC.get(found[0], ())}] == []


@pytest.mark.parametrize("module", PUBLIC)
def test_public_modules_have_their_public_names(module):
    assert [name for name in PUBLIC[module] if not hasattr(import_module(module), name)] == []


def test_the_sdk_knows_nothing_of_the_nodes():
    assert [named(path) for path in SDK for target in imported(path) if target.is_relative_to(ROOT / "nodes")] == []


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_what_comes_from_outside_comes_where_it_may(path):
    """ComfyUI has a module called ``nodes``, and may hold another copy of the SDK: the pack names neither."""
    outside = {module.partition(".")[0] for level, module, _ in imports(path) if not level}
    assert "xalora_client" not in outside
    if path.parent != ROOT / "nodes" / "comfy":
        assert outside & HOST == set()
    if path in SDK:
        assert "torch" not in outside


def test_the_map_shows_these_layers_in_this_order():
    """From the top down."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"<!-- the map -->\n```text\n(.*?)```", contributing, re.DOTALL)
    assert re.findall(r"^([a-z_]+(?:/|\.py)) ", drawing, re.MULTILINE) == LAYERS[::-1]
