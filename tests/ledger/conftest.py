"""A ledger in the test's home."""

from __future__ import annotations

import pytest

from tests.support.ledger_steps import SERVER
from tests.support.subject import FakeClock
from xalora_client.ledger import Ledger


@pytest.fixture
def clock():
    return FakeClock(1_700_000_000.0)


@pytest.fixture
def ledger(home, clock):
    with Ledger(home, SERVER, clock) as ledger:
        yield ledger
