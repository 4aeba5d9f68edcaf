"""A client with a ledger, and a sequencer that counts its tasks."""

from __future__ import annotations

import pytest

from tests.support.fake_sequencer import Answer


@pytest.fixture
def keeper(subject):
    """A client with a ledger."""
    subject.options["ledger"] = True
    return subject


@pytest.fixture
def ids(sequencer):
    """Each create gets an id of its own."""
    numbers = iter(range(1, 100))
    sequencer.script("task_create", lambda _: Answer({"task_id": f"t{next(numbers)}"}))
    return sequencer
