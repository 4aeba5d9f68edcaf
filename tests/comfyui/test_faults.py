"""Faults of the table through a node: the run ends in success or in the words of one error, and is charged once."""

from __future__ import annotations

import pytest

from tests.faults.table import cases
from tests.faults.world import World
from tests.support.comfyui_process import ComfyUIProcess
from tests.support.comfyui_prompts import keep, show, text2video

NAMES = (
    "create: an endless answer in chunks",
    "create: 1 GB in 1 MB of gzip",
    "create: 103 before the answer",
    "create: 500, and yet it runs",
    "create: half the body",
    "create: 307 to another server",
    "create: an id that is a megabyte",
    "create: refused in bidi overrides",
    "query: a page once",
    "query: failed, a megabyte",
    "a sequencer here names 169.254.169.254",
    "a file here leads to 0xa9.0xfe.0xa9.0xfe",
    "a link to the byte: /a%2Fb.png",
    "a login in a link that is refused",
    "file: half, then the rest",
    "file: a page",
)
"""Cases that take no time but a query's first second."""


@pytest.mark.parametrize("name", NAMES)
def test_a_node_ends_as_the_table_says(comfy: ComfyUIProcess, canary: str, name: str) -> None:
    (case,) = (each for each in cases() if each.name == name)
    world = World(case)
    prompt = {"make": text2video(f"a rabbit, and {case.name}"), "keep": keep(["make", 0]), "show": show(["make", 3])}
    with world.running():
        comfy.use(world.url)
        first = comfy.run(prompt)
        creates = len(world.created)
        world.heal()
        second = comfy.run(prompt)
    if case.ends == "success":
        first.ok()
    else:
        assert first.end == "execution_error"
        assert first.error["exception_type"] == f"xalora_client.{case.ends}"
        said = first.error["exception_message"].strip()
        assert len(said) < 1200
        assert said.isprintable()
        if case.names_job:
            assert world.created[0] in said
    second.ok()
    assert creates == case.creates
    assert len(world.jobs) == case.charges
    if case.target is not None:
        assert case.target in [each.target for each in world.servers["files"].requests]
    shown = f"{comfy.log()}{[event.data for event in comfy.events]}"
    assert canary not in shown
    assert "canary-" not in shown
    assert not any("cookie" in each.headers or "referer" in each.headers for each in world.requests)
