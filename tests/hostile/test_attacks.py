"""What strangers and consumers try against a sequencer is refused, costs little, and nobody else notices.

How long others wait is measured by ``python -m tests.hostile``, on a machine that does nothing else.
"""

from __future__ import annotations

import re
import sys

import pytest

from tests.hostile.__main__ import MOST_MEMORY, ON_SEQUENCERS
from tests.hostile.before_any_key import from_a_page
from tests.hostile.world import World, head

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sequencer's memory is read from /proc")

HANGS = 5.0
"""Seconds: such attacks once stopped everybody for longer, on a machine without other work."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.mark.parametrize("attack", ON_SEQUENCERS, ids=lambda attack: attack.name)
def test_nobody_else_notices(world, attack):
    found = world.measure(attack)
    assert all(re.fullmatch(attack.answer, answer) for answer in found.answer.split()), found
    assert found.noticed == []
    assert found.memory <= MOST_MEMORY
    assert found.pause <= HANGS


@pytest.fixture(scope="module")
def open_world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("open"), is_open=True)
    yield world
    world.close()


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("endpoint", ["miner_register", "miner_request", "task_create"])
def test_without_keys_a_page_of_another_site_is_refused(open_world, endpoint, kind):
    assert from_a_page(open_world, endpoint, kind) == "415"
    assert from_a_page(open_world, endpoint, "application/json", "Origin: http://evil.example") == "403"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8787", "127.0.0.1.evil.example", "10.0.0.7", "[2001:db8::1]", "", "localhost.evil"],
)
@pytest.mark.parametrize("path", ["task_result_query", "miner_request", "", "metrics", "media/x"])
def test_without_keys_only_names_of_this_machine_are_answered(open_world, host, path):
    method = "POST" if path in ("task_result_query", "miner_request") else "GET"
    request = head(path, method=method, length=2).replace(b"Host: 127.0.0.1", f"Host: {host}".encode())
    assert open_world.raw(request, b"{}") == "403"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8787", "LOCALHOST", "[::1]:99", "127.8.9.10"])
def test_names_of_this_machine_are(open_world, host):
    request = head("", method="GET", length=0).replace(b"Host: 127.0.0.1", f"Host: {host}".encode())
    assert open_world.raw(request) == "200"
