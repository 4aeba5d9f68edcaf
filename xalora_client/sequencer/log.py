"""A server's log on stderr: a line for each problem, and not more of one kind than somebody can read."""

from __future__ import annotations

import logging
import time

SECONDS_BETWEEN_SAME = 60.0
MOST_KINDS = 1000


class OnceAMinute(logging.Filter):
    """Drops what was logged in the last minute already, by its text without the values, and counts it."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written. The next one says how many were not."""
        text, now = str(record.msg), time.monotonic()
        last, dropped = self._seen.get(text, (now - SECONDS_BETWEEN_SAME, 0))
        if now - last < SECONDS_BETWEEN_SAME:
            self._seen[text] = last, dropped + 1
            return False
        if len(self._seen) >= MOST_KINDS:
            self._seen.clear()
        self._seen[text] = now, 0
        if dropped:
            record.msg, record.args = f"{record.getMessage()} (and {dropped:,} more like it)", ()
        return True


def log_to_stderr() -> None:
    """Write warnings and errors of this process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(OnceAMinute())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
