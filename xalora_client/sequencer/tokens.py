"""The tokens in the addresses that a miner gets for one attempt."""

from __future__ import annotations

from .work import Lease, Work

UPLOAD, INPUT = "upload", "input"


class Tokens:
    """Which attempt a token belongs to, as long as that attempt may still end its task."""

    def __init__(self) -> None:
        self._attempts: dict[str, tuple[Work, Lease]] = {}

    def add(self, work: Work, lease: Lease) -> None:
        """An attempt begins."""
        for purpose in (UPLOAD, INPUT):
            self._attempts[lease.derived(purpose)] = (work, lease)

    def discard(self, lease: Lease) -> None:
        """Its tokens no longer count."""
        for purpose in (UPLOAD, INPUT):
            self._attempts.pop(lease.derived(purpose), None)

    def find(self, token: str, purpose: str) -> tuple[Work, Lease] | None:
        """The attempt that a token was made for; None for any other text."""
        found = self._attempts.get(token)
        return found if found is not None and found[1].derived(purpose) == token else None
