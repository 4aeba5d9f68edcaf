"""Advice in the editor is about the editor: no command line, no environment variable that its settings have."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from typing import Any

import pytest

from tests.support.fake_sequencer import Answer
from tests.support.fake_xalora import FakeXalora
from xalora_client.errors.messages import COMMAND, LIBRARY, MESSAGES, NODES, advice, plain, what

ELSEWHERE = re.compile(r"XALORA_(API_KEY|WORKFLOW_URL|BUCKET)\b|`xalora |(?<!\w)--[a-z]|Client\(")
IN_A_PROGRAM_ONLY = re.compile(r"Client\(")


@pytest.mark.parametrize("code", MESSAGES)
def test_each_message_fits_where_it_is_read(code: str) -> None:
    values: dict[str, object] = defaultdict(lambda: "X")
    assert not ELSEWHERE.search(what(code, values) + advice(code, values, NODES))
    assert not IN_A_PROGRAM_ONLY.search(advice(code, values, COMMAND))
    assert not ELSEWHERE.search(plain(code, values))
    for surface in (LIBRARY, COMMAND):
        assert re.search(r"^$|\.$", advice(code, values, surface))
    assert advice(code, values, NODES).endswith(".") or plain(code, values)


@pytest.mark.parametrize("surface", [LIBRARY, COMMAND, NODES])
def test_an_errors_own_advice_is_the_same_everywhere(pack: Any, surface: str) -> None:
    error = pack.error("AuthenticationError")("no", status_code=401, advice="Ask Ada.")
    assert "Ask Ada." in error.text(surface)
    assert "The server answered 401: no" in error.text(surface)


def test_comfyui_is_told_what_its_user_can_do(pack: Any, miner: FakeXalora) -> None:
    miner.script("task_create", Answer({"message": "no"}, 401))
    with pytest.raises(pack.error("AuthenticationError")) as caught:
        pack.run("XaloraText2Video", prompt="a rabbit")
    assert str(caught.value) == (
        "The server does not accept the key. Check the key in Settings → Xalora. (The server answered 401: no)."
    )
    assert str(caught.value.derived(advice=None)).endswith("Check XALORA_API_KEY (consumer#key).")


def test_comfyuis_log_has_the_same_advice(pack: Any) -> None:
    error = pack.error("StorageError")(code="inputs_stay", params={"count": 2})
    record = logging.LogRecord("pack.xalora_client", logging.WARNING, __file__, 1, "%s", (error,), None)
    assert pack.part("nodes.error_messages")._edit_record(record)
    assert record.getMessage().startswith("Xalora: Images of tasks that have ended stay in the bucket (2). A rule")
