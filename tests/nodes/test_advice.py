"""Advice in the editor is about the editor: no command line, no environment variable that its settings have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import ROOT

ELSEWHERE = re.compile(r"XALORA_(API_KEY|WORKFLOW_URL|BUCKET)\b|`xalora |--[a-z]|Client\(")

SDK = ROOT / "xalora_client"
NOT_IN_COMFYUI = {"cli", "miner", "sequencer", "workflows", "__main__.py"}

HERE = re.compile(
    r"Settings → Xalora|reuse off|for one run|smaller frames|remove what earlier"
    r"|stays in the bucket|the Xalora tab|Set AWS_ACCESS_KEY_ID"
)


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text in the code that an error may hold, joined from its parts; "X" stands for values."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        yield tree.value
    elif isinstance(tree, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else _value(part) for part in tree.values)
    elif not ((isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant)) or _logs(tree)):  # No docstring.
        for part in ast.iter_child_nodes(tree):
            yield from texts(part)


def _logs(part: ast.AST) -> bool:
    """The log is for whoever started ComfyUI."""
    return isinstance(part, ast.Call) and ast.unparse(part.func).startswith("logger.")


def _value(part: ast.expr) -> str:
    """What stands for a value in a text: of the settings' names, the names themselves."""
    names = {"KEY": "XALORA_API_KEY", "URL": "XALORA_WORKFLOW_URL", "SANDBOX": "sandbox"}
    return names.get(ast.unparse(part).strip("{}f'\""), "X")


def advice(path: Path) -> Iterator[str]:
    """The texts of a file that send people somewhere else. A setting's bare name is none."""
    for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
        if ELSEWHERE.search(text) and " " in text:
            yield text


FILES = [path for path in sorted(SDK.rglob("*.py")) if path.relative_to(SDK).parts[0] not in NOT_IN_COMFYUI]
TEXTS = {text for path in FILES for text in advice(path)}


@pytest.mark.parametrize("text", sorted(TEXTS), ids=lambda text: text[:40])
def test_advice_fits_the_editor(pack: Any, text: str) -> None:
    error = pack.error("XaloraError")("It did not work", advice=text)
    pack.part("nodes._endings").fit(error)
    assert not ELSEWHERE.search(error.advice)
    assert error.advice.endswith(".") == text.endswith(".")
    assert HERE.search(error.advice)


def test_all_such_advice_is_found() -> None:
    assert len(TEXTS) > 20


def test_what_fits_stays(pack: Any) -> None:
    error = pack.error("TaskFailedError")("The task failed")
    before = str(error)
    pack.part("nodes._endings").fit(error)
    assert str(error) == before
