"""What the dispatcher tells of its work, to whoever counts it."""

from __future__ import annotations

from .work import Work


class Observer:
    """Hears of each end. This one does nothing with it."""

    def task_ended(self, work: Work, outcome: str, now: float) -> None:
        """A task ended: "finished", "error", "canceled", "timed out" or "lost"."""

    def attempt_lost(self, work: Work) -> None:
        """A miner was lost, or gave its task back."""

    def query_answered(self, seconds: float) -> None:
        """A query was answered; ``seconds`` without the time it waited on request."""
