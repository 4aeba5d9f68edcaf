"""``python -m tests.hostile [WORD...]``: run the attacks whose names hold each word, and print the table.

Exits with 1 where an attack is answered otherwise than it should, or somebody honest notices it. Heartbeats may take
100 ms: run it on a machine that does nothing else.
"""

from __future__ import annotations

import re
import sys
import tempfile
from itertools import chain
from pathlib import Path

from tests.hostile import before_any_key, consumers
from tests.hostile.world import World

MODULES = (before_any_key, consumers)
"""Each has ``attacks()``."""

LONGEST_PAUSE = 0.1
MOST_MEMORY = 400.0
"""MiB: the largest create, read whole and parsed."""


def main(words: list[str]) -> int:
    """Print the table."""
    failed = 0
    print(f"{'attack':70} {'who':12} {'answer':8} {'seconds':>7} {'MiB':>5} {'pause':>7}  others noticed")
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            for attack in chain.from_iterable(module.attacks() for module in MODULES):
                if not all(word in attack.name for word in words):
                    continue
                found = world.measure(attack)
                is_good = (
                    all(re.fullmatch(attack.answer, answer) for answer in found.answer.split())
                    and not found.noticed and found.pause <= LONGEST_PAUSE and found.memory <= MOST_MEMORY
                )  # fmt: skip
                failed += not is_good
                print(
                    f"{attack.name[:70]:70} {attack.who:12} {found.answer[:8]:8} {found.seconds:7.2f} "
                    f"{found.memory:5.0f} {found.pause * 1000:4.0f} ms  {'; '.join(found.noticed[:2]) or 'nothing'}"
                    f"{'' if is_good else '  !'}",
                    flush=True,
                )
        finally:
            world.close()
    print(f"{failed} not as they should be")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
