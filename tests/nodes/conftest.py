"""The pack, loaded as ComfyUI loads it but without ComfyUI, and its nodes, awaited."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.support.fake_xalora import FakeXalora
from tests.support.processes import ROOT
from tests.support.quick_time import FastClock, hurry
from tests.support.sandbox_process import SandboxProcess

KEY = "consumer-1#secret-of-tests"


class Pack:
    """The loaded pack: its mappings, its modules by their names inside it, and its nodes as ComfyUI runs them."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.classes: dict[str, Any] = module.NODE_CLASS_MAPPINGS

    def part(self, name: str) -> Any:
        """A module of the pack, such as "nodes.execution"."""
        return sys.modules[f"{self.module.__name__}.{name}"]

    def error(self, name: str) -> Any:
        """An error class of the pack's own copy of the SDK."""
        return getattr(self.part("xalora_client"), name)

    def inputs(self, node_id: str) -> dict[str, Any]:
        """Every input with its specification, in the order of the node."""
        kinds = self.classes[node_id].INPUT_TYPES()
        return {**kinds.get("required", {}), **kinds.get("optional", {})}

    async def start(self, node_id: str, **values: Any) -> Any:
        """Run a node in the running loop, with the widgets' defaults for what is not given; the result's values."""
        inputs = self.inputs(node_id)
        assert set(values) - {"unique_id"} <= set(inputs)
        defaults = {name: spec[1]["default"] for name, spec in inputs.items() if "default" in spec[1]}
        node = self.classes[node_id]()
        answer = await getattr(node, node.FUNCTION)(**defaults | values)
        return answer["result"] if isinstance(answer, dict) else answer

    def run(self, node_id: str, **values: Any) -> Any:
        """Run a node as the only one of a prompt."""
        return asyncio.run(self.start(node_id, **values))

    def is_blocked(self, value: Any) -> bool:
        """Whether an output gives nothing, without a word."""
        return isinstance(value, self.part("nodes.comfy.outputs").ExecutionBlocker) and value.message is None


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pack]:
    """Under its directory path as module name, the last part with a dash, as ComfyUI does it."""
    folder = tmp_path_factory.mktemp("custom_nodes") / "xalora-nodes"
    folder.symlink_to(ROOT, target_is_directory=True)
    name = str(folder).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield Pack(module)
    for part in [part for part in sys.modules if part.startswith(name)]:
        del sys.modules[part]


@pytest.fixture(autouse=True)
def key(isolated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, which every node needs."""
    monkeypatch.setenv("XALORA_API_KEY", KEY)


@pytest.fixture
def sandbox(sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> SandboxProcess:
    """The sandbox, as the nodes' sequencer."""
    monkeypatch.setenv("XALORA_WORKFLOW_URL", sandbox.url)
    return sandbox


@pytest.fixture
def miner(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeXalora]:
    """A sequencer that does what the test says, as the nodes' own. The pauses between queries are short."""
    hurry(monkeypatch, pack.part("xalora_client").AdvancedOptions, FastClock(speed=10))
    server = FakeXalora()
    monkeypatch.setenv("XALORA_WORKFLOW_URL", server.url)
    yield server
    server.close()


@pytest.fixture
def cancel_button(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that presses Cancel: ComfyUI, whose flag this stands for, is not here."""
    flag = threading.Event()
    monkeypatch.setattr(pack.part("nodes.comfy.prompt"), "interrupted", flag.is_set)
    return flag.set
