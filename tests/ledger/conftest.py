"""A ledger in the test's home."""

from __future__ import annotations

import pytest
from ledger_steps import SERVER
from subject import Clock

from xalora_client.ledger import Ledger


@pytest.fixture
def clock():
    return Clock(1_700_000_000.0)


@pytest.fixture
def ledger(home, clock):
    with Ledger(home, SERVER, clock) as ledger:
        yield ledger
