"""Which calls of this process wait for which task: one that leaves does not cancel what another waits for."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from typing import TypeAlias

_Key: TypeAlias = tuple[int, str, str]

_lock = threading.Lock()
_waiting: defaultdict[_Key, set[Waiter]] = defaultdict(set)


class Waiter:
    """One call. Use it with ``with``, so that it has left when the call has ended."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._keys: list[_Key] = []

    def __enter__(self) -> Waiter:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def waits_for(self, name: str) -> None:
        """Wait for the task of this fingerprint while it has no id yet, then for the one with this id."""
        key = (os.getpid(), self.server, name)  # After a fork, the calls of the parent are there, not here.
        with _lock:
            self._remove()
            self._keys.append(key)
            _waiting[key].add(self)

    def leave(self) -> bool:
        """Wait no longer. Returns whether nobody else waits for the task."""
        with _lock:
            self._remove()
            return not any(key in _waiting for key in self._keys)

    def _remove(self) -> None:
        for key in self._keys[-1:]:
            _waiting[key].discard(self)
            if not _waiting[key]:
                del _waiting[key]
