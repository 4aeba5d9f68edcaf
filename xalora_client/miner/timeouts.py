"""How long the miner waits for what. Tests pass shorter ones."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from ..http.retry import growing_delays


@dataclass(frozen=True)
class Timeouts:
    """All in seconds.

    Attributes:
        poll: Between polls of a prompt while ComfyUI's websocket also reports on it.
        poll_without_ws: Between polls without a websocket, and between attempts to reach ComfyUI.
        connection_refused: When nobody listens at its address for so long, ComfyUI is gone, and its prompt with it.
        no_response: When no answer comes for so long, the same. Some nodes keep ComfyUI from answering for minutes.
        queue_stall: When a prompt waits for so long while nothing runs, ComfyUI's worker is dead.
        progress_stall: When a prompt runs for so long without progress, the same.
        stop: How long ComfyUI may take to stop a prompt before it counts as stuck.
        stop_again: Between attempts to stop it.
        heartbeat: How long a heartbeat waits at the sequencer.
        report: Between two reports of progress, at least.
        first_delay: Before the second attempt to reach the sequencer. It doubles with each further attempt,
        longest_delay: up to this.
        submit: How long a sequencer that does not answer is asked again, such as for a result's submit.
        inputs: How long an input that cannot be had is asked for: the sequencer has it, or never will.
        input_tries: How often it is asked for.
        requeue: The same at least, also after the task's deadline, so that it returns to the queue.
        log_interval: Between repeated lines in the log.
    """

    poll: float = 5.0
    poll_without_ws: float = 1.0
    connection_refused: float = 5.0
    no_response: float = 300.0
    queue_stall: float = 30.0
    progress_stall: float = 3600.0
    stop: float = 60.0
    stop_again: float = 0.25
    heartbeat: float = 10.0
    report: float = 0.5
    first_delay: float = 0.5
    longest_delay: float = 15.0
    submit: float = 3600.0
    inputs: float = 300.0
    input_tries: int = 6
    requeue: float = 5.0
    log_interval: float = 60.0

    def delays(self, longest: float = math.inf) -> Iterator[float]:
        """Before each further attempt to reach the sequencer, up to ``longest``."""
        rng = random.Random()  # noqa: S311 - it only spreads requests
        return growing_delays(self.first_delay, 2.0, min(self.longest_delay, longest), rng)
