"""What a sequencer does wrong: every case of the table ends as it should, with both clients alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.pairs import judged
from tests.faults.steps import Case
from tests.faults.table import cases


@pytest.mark.parametrize(
    "case",
    [pytest.param(each, id=ascii(each.name)) for each in cases("size_and_time", "what_counts_as_refused", "words")],
)
def test_both_clients_end_as_the_table_says(case: Case, tmp_path: Path) -> None:
    assert judged(case, tmp_path) == []
