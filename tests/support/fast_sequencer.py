"""``python fast_sequencer.py SPEED sequencer …``: the ``xalora`` command, with a sequencer whose clock runs faster.

Its leases of 30 s last 30 s / SPEED then, so that a test need not wait so long for a lost miner.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from xalora_client.cli import main
from xalora_client.sequencer import app
from xalora_client.sequencer.clock import Clock, Timer

SPEED = float(sys.argv[1])


class FastClock(Clock):
    """A restart continues the same time."""

    def time(self) -> float:
        return time.time() * SPEED

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    def call_later(self, seconds: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        return super().call_later(seconds / SPEED, callback, *arguments)


if __name__ == "__main__":
    app.Clock = FastClock  # type: ignore[misc]
    sys.exit(main(sys.argv[2:]))
