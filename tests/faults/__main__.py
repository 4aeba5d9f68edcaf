"""``python -m tests.faults [WORD...]``: run the cases whose names or kinds hold each word, and print the table.

Exits with 1 where a case ends otherwise than it should.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.faults.checks import breaches
from tests.faults.run import CLIENTS, Runs, run
from tests.faults.table import cases


def main(words: list[str]) -> int:
    """Print the table."""
    failed = total = 0
    print(f"{'case':64} {'client':10} {'ended in':20} {'creates':>7} {'requests':>8} {'seconds':>7} {'MiB':>5}")
    for case in cases():
        if not all(word in f"{case.kind}: {case.name}" for word in words):
            continue
        endings = set()
        for client in CLIENTS:
            with tempfile.TemporaryDirectory() as folder:
                runs = run(case, client, Path(folder))
                lines = breaches(runs)
            endings.add((runs.first.ended, runs.first.creates))
            _print(runs, lines)
            total += 1
            failed += bool(lines)
        if len(endings) > 1:
            print(f"    ! the clients end differently: {sorted(endings)}")
    print(f"{total} runs, {total - failed} as they should end, {failed} otherwise")
    return int(failed > 0)


def _print(runs: Runs, lines: list[str]) -> None:
    first = runs.first
    memory = "?" if first.memory is None else f"{first.memory:.0f}"
    print(
        f"{runs.case.name[:64]:64} {runs.client:10} {first.ended[:20]:20} {first.creates:7} {first.requests:8} "
        f"{first.seconds:7.2f} {memory:>5}",
        flush=True,
    )
    for line in lines:
        print(f"    ! {line[:300]}".encode("ascii", "backslashreplace").decode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
