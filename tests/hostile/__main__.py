"""``python -m tests.hostile [WORD...]``: run the attacks whose names hold each word, and print the table.

First those against a sequencer, then those against a miner, whose task at hand is the answer. Exits with 1 where an
attack is answered otherwise than it should, or somebody honest notices it. Heartbeats may take 100 ms: run it on a
machine that does nothing else.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.hostile import against_miners, before_any_key, consumers
from tests.hostile.against_miners import MinerWorld
from tests.hostile.world import World

ON_SEQUENCERS = [*before_any_key.attacks(), *consumers.attacks()]

LONGEST_PAUSE = 0.1
MOST_MEMORY = 400.0
"""MiB: the largest create, read whole and parsed."""


def main(words: list[str]) -> int:
    """Print the table."""
    print(f"{'attack':70} {'who':12} {'answer':8} {'seconds':>7} {'MiB':>5} {'pause':>7}  others noticed")
    failed = 0
    for make, attacks in ((World, ON_SEQUENCERS), (MinerWorld, against_miners.attacks())):
        failed += run(make, [attack for attack in attacks if all(word in attack.name for word in words)])
    print(f"{failed} not as they should be")
    return int(failed > 0)


def run(make: Callable[[Path], Any], attacks: Sequence[Any]) -> int:
    """Run attacks in one world, and print a line for each. Returns how many were not as they should be."""
    failed = 0
    if not attacks:
        return failed
    with tempfile.TemporaryDirectory() as folder:
        world = make(Path(folder))
        try:
            for attack in attacks:
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
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
