"""A case with both clients."""

from __future__ import annotations

from pathlib import Path

from tests.faults.checks import breaches
from tests.faults.run import CLIENTS, run
from tests.faults.steps import Case


def judged(case: Case, folder: Path) -> list[str]:
    """What is not as it has to be with one of the clients, and where the two end differently."""
    lines, ends = [], set()
    for client in CLIENTS:
        runs = run(case, client, folder / client)
        lines += [f"{client}: {line}" for line in breaches(runs)]
        ends.add((runs.first.ended, runs.first.creates))
    return lines if len(ends) == 1 else [*lines, f"the clients end differently: {sorted(ends)}"]
