"""Workflows made in the test, compared with a ComfyUI's nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.object_infos import node, object_info
from xalora_client.workflows import CheckedWorkflow, Workflow, check


@pytest.fixture(params=[False, True], ids=["V1", "V3"])
def info(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the ComfyUI has."""
    return object_info(v3=request.param)


@pytest.fixture
def checked(info: dict[str, Any]) -> Callable[..., CheckedWorkflow]:
    """Check these nodes, numbered from 1, one to begin with, and one more that saves."""

    def make(*nodes: dict[str, Any], saves: bool = True, **options: Any) -> CheckedWorkflow:
        numbered = {str(number): each for number, each in enumerate(nodes, 1)}
        numbered["start"] = {"class_type": "Start", "inputs": {}}
        if saves:
            numbered["save"] = node("Save", images=["1", 0], filename_prefix="a/b")
        return check(Workflow.from_nodes("txt2img.3.json", numbered), options.get("info", info))

    return make


@pytest.fixture
def fault(checked: Callable[..., CheckedWorkflow]) -> Callable[..., str]:
    """The one fault of these nodes, as it is printed."""

    def find(*nodes: dict[str, Any], **options: Any) -> str:
        (found,) = checked(*nodes, **options).faults
        return str(found)

    return find
