"""Each ComfyUI found, with the pack installed; sandboxes of several paces as sequencers."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.comfyui_process import NONE_FOUND, ComfyUIProcess, booted, found, install, version_of
from tests.support.fake_xalora import FakeXalora
from tests.support.sandbox_process import SandboxProcess

HELPER_NODES = Path(__file__).with_name("helper_nodes")


@pytest.fixture(scope="session", params=found() or [None], ids=lambda source: version_of(source) if source else "none")
def source(request: pytest.FixtureRequest) -> Path:
    """The folder of a ComfyUI; every test that uses it runs once for each."""
    if request.param is None:
        pytest.skip(NONE_FOUND)
    return request.param


@pytest.fixture(scope="session")
def canary() -> str:
    """The secret half of the key that the server has."""
    return f"canary{secrets.token_hex(16)}"


@pytest.fixture(scope="session")
def server(source: Path, canary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """A ComfyUI with the pack under a folder name with a dash, its key in the environment."""
    base = tmp_path_factory.mktemp("comfyui")
    comfy = ComfyUIProcess(
        source, base, "--verbose", "DEBUG",
        XALORA_API_KEY=f"consumer-of-tests#{canary}", XALORA_HOME=str(base / "xalora"),
    )  # fmt: skip
    install(base / "custom_nodes" / "xalora-nodes")
    shutil.copytree(HELPER_NODES, base / "custom_nodes" / "helper_nodes")
    yield from booted(comfy)


@pytest.fixture
def comfy(server: ComfyUIProcess, sandbox: SandboxProcess) -> Iterator[ComfyUIProcess]:
    """That server, with the sandbox as sequencer and nothing left over from other tests."""
    server.use(sandbox.url)
    yield server
    server.check_alive()
    server.settle()


@pytest.fixture(scope="session")
def plain(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUIProcess]:
    """Another one with the pack under a plain name, alone, without a key and without any other setting."""
    base = tmp_path_factory.mktemp("plain")
    comfy = ComfyUIProcess(source, base, XDG_DATA_HOME=str(base / "data of the user"))
    install(base / "custom_nodes" / "xalora_nodes_plain")
    yield from booted(comfy)


def _sandbox(factory: pytest.TempPathFactory, name: str, **options: Any) -> Iterator[SandboxProcess]:
    process = SandboxProcess(factory.mktemp(name), **options)
    yield process
    process.close()


@pytest.fixture
def miner(comfy: ComfyUIProcess) -> Iterator[FakeXalora]:
    """A sequencer that does what the test says, as the server's own."""
    machine = FakeXalora()
    comfy.use(machine.url)
    yield machine
    machine.close()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Renders at once."""
    yield from _sandbox(tmp_path_factory, "sandbox")


@pytest.fixture(scope="session")
def paced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Renders in 1.5 s, between the client's first look at a task and its second, as many as there are."""
    yield from _sandbox(tmp_path_factory, "paced", render_seconds=1.5, workers=64)


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Takes every task up at once and finishes none."""
    yield from _sandbox(tmp_path_factory, "endless", render_seconds=3600, workers=64)
