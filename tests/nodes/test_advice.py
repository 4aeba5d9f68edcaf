"""Advice in the editor is about the editor: no command line, no environment variable that its settings have."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from processes import ROOT

from xalora_client import config, errors
from xalora_client.protocol.refusals import _ADVICE

ELSEWHERE = re.compile(r"XALORA_API_KEY|XALORA_WORKFLOW_URL|`xalora |--[a-z]|Client\(")

KINDS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.XaloraError)]
TEXTS = [
    *(kind.advice for kind in KINDS),
    *_ADVICE.values(),
    config.NO_KEY_ADVICE,
    "Copy the whole key from your Xalora account into XALORA_API_KEY.",
    "Set XALORA_API_KEY and XALORA_WORKFLOW_URL in the same place, or pass both as arguments: a key is sent only to "
    "the server it was set with.",
    "To run and pay for it again, turn reuse off, or run `xalora tasks --forget t-81` and then the task.",
    "Look for the job in your account; to run the task and pay for it again, run `xalora tasks --forget j` first.",
    "Set XALORA_WORKFLOW_URL to something like https://sequencer.example, or to sandbox.",
    "It redirects to https://x.example: if that is right, set XALORA_WORKFLOW_URL to it.",
]


def part(node: ast.expr) -> str:
    """A part of an f-string: constants have names only in ``config``, and any other value is "x"."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    value = node.value if isinstance(node, ast.FormattedValue) else None
    return str(getattr(config, value.id, "x")) if isinstance(value, ast.Name) else "x"


def written() -> set[str]:
    """Each text in the SDK that names a command or the bucket's variable, but for what only the commands use."""
    found = set[str]()
    for file in (ROOT / "xalora_client").rglob("*.py"):
        if file.relative_to(ROOT / "xalora_client").parts[0] in ("cli", "miner", "sequencer", "workflows"):
            continue
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        long = [node for node in nodes if isinstance(node, ast.JoinedStr)]
        pieces = {each for node in long for each in node.values}
        alone = [node for node in nodes if isinstance(node, ast.Constant) and node not in pieces]
        texts = {"".join(map(part, node.values)) for node in long} | {part(node) for node in alone}
        # Not docstrings, nor the variable's name alone.
        found |= {text for text in texts if re.search(r"`xalora |XALORA_BUCKET ", text) and "``" not in text}
    return found


@pytest.mark.parametrize("text", sorted(written()), ids=lambda text: text[:40])
def test_nothing_in_the_editor_names_a_command(pack: Any, text: str) -> None:
    assert not re.search(r"`xalora |--[a-z]|XALORA_BUCKET", pack.part("nodes._endings").fitting(text))


@pytest.mark.parametrize("text", sorted({text for text in TEXTS if ELSEWHERE.search(text)}), ids=lambda text: text[:40])
def test_advice_fits_the_editor(pack: Any, text: str) -> None:
    error = pack.error("XaloraError")("It did not work", advice=text)
    pack.part("nodes._endings").fit(error)
    assert not ELSEWHERE.search(error.advice)
    assert error.advice.endswith(".")
    assert "Settings → Xalora" in error.advice or "reuse off" in error.advice or "smaller frames" in error.advice


def test_what_fits_stays(pack: Any) -> None:
    error = pack.error("TaskFailedError")("The task failed")
    before = str(error)
    pack.part("nodes._endings").fit(error)
    assert str(error) == before
