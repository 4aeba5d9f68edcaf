"""Advice in the editor is about the editor: no command line, no environment variable that its settings have."""

from __future__ import annotations

import re
from typing import Any

import pytest

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
