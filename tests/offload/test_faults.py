"""Each fault once, with short leases: the client gets its own result, and one run is charged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.offload.faults import FAST, made_for
from tests.offload.scenarios import FAULTS
from tests.offload.scene import Fault, carry_out
from tests.offload.world import World


@pytest.fixture(scope="module")
def world_for() -> Iterator[Callable[[Fault], World]]:
    """Gives a world for a fault: the one before, when it serves and nothing went wrong in it."""
    stack = ExitStack()
    latest: list[tuple[Fault, World]] = []

    def give(fault: Fault) -> World:
        if latest and needs(latest[0][0]) == needs(fault) and not latest[0][1].has_failed:
            return latest[0][1]
        stack.close()
        latest[:] = [(fault, stack.enter_context(made_for(fault, FAST)))]
        return latest[0][1]

    with stack:
        yield give


def needs(fault: Fault) -> tuple[int, bool]:
    """What a world must have for it."""
    return fault.boxes, fault.has_small_disk


@pytest.mark.parametrize("fault", [pytest.param(each, id=each.name) for each in FAULTS if not each.by_hand])
def test_a_fault_costs_neither_the_result_nor_a_second_run(fault: Fault, world_for: Callable[[Fault], World]) -> None:
    if fault.missing:
        pytest.skip(fault.missing)
    assert carry_out(fault, world_for(fault)).wrong == []
