"""A server's log on stderr: a line for each problem, and not more of one kind than somebody can read."""

from __future__ import annotations

import logging
import time
from traceback import walk_tb

SECONDS_BETWEEN_SAME = 60.0
MOST_KINDS = 1000
LONGEST = 8000
"""Characters of one record, with its traceback."""


class OnceAMinute(logging.Filter):
    """Drops what was logged in the last minute already, and counts it.

    Of one kind is what has the same text without the values, and an error of the same class from the same line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written. The next one says how many were not."""
        text, now = f"{record.msg}{_origin(record)}", time.monotonic()
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


def _origin(record: logging.LogRecord) -> str:
    """The class of a record's error, and the line that raised it."""
    kind, _, trace = record.exc_info or (None, None, None)
    *_, last = [frame.f_code.co_filename + str(line) for frame, line in walk_tb(trace)] or [""]
    return f"{kind}{last}"


class Bounded(logging.Formatter):
    """Cuts the middle out of records that are too long."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}\n…\n{text[-LONGEST // 2 :]}"


def log_to_stderr() -> None:
    """Write warnings and errors of this process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(Bounded("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(OnceAMinute())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
