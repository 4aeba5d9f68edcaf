"""How long the miner waits for what. Tests pass shorter ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """All in seconds.

    Attributes:
        look: Between looks at a prompt while ComfyUI's websocket tells about it too.
        look_alone: Between looks without a websocket, and between attempts to reach ComfyUI.
        refused: A ComfyUI where nobody listens for so long is gone, and its prompt with it.
        silent: One that gives no answer for so long is given up; some nodes keep it from answering for minutes.
        untaken: A prompt that waits for so long while nothing runs: ComfyUI's worker is dead.
        unmoved: A prompt that tells nothing for so long while it runs: the same.
        stop: How long ComfyUI may take to stop a prompt before it counts as stuck.
        stop_again: Between attempts to stop it.
        heartbeat: How long a heartbeat waits at the sequencer.
        report: Between two reports of progress, at least.
        first_delay: Before the second attempt to reach the sequencer; each further one doubles it,
        longest_delay: up to this.
        submit: How long a result is kept for a sequencer that does not answer.
        give_back: How long a task that is given back is kept for it.
        quiet: Between repeated lines in the log.
    """

    look: float = 5.0
    look_alone: float = 1.0
    refused: float = 5.0
    silent: float = 300.0
    untaken: float = 30.0
    unmoved: float = 3600.0
    stop: float = 60.0
    stop_again: float = 0.25
    heartbeat: float = 10.0
    report: float = 0.5
    first_delay: float = 0.5
    longest_delay: float = 15.0
    submit: float = 3600.0
    give_back: float = 5.0
    quiet: float = 60.0
