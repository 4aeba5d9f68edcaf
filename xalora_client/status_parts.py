"""What a status line says of a task: in English, and as codes and values, from which other languages make their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class StatusPart:
    """A part of a status line. As a text it is English.

    Attributes:
        code: What it says: a key of WORDS.
        values: What the words are filled with. One may be a part itself.
    """

    WORDS: ClassVar[dict[str, str]] = {
        "verbatim": "{words}",
        "submitting": "submitting {time}",
        "queued": "queued {time}",
        "running": "running {time}",
        "running_left": "running {time}, about {left} left",
        "finished": "finished {time}",
        "state": "{state} {time}",
        "lost": "connection lost, trying again",
        "lost_in": "connection lost, trying again in {seconds} s",
        "retry": "{error}, trying again",
        "retry_in": "{error}, trying again in {seconds} s",
        "miner_lost": "the miner was lost",
        "no_miner": (
            "no miner that runs this with these values is connected at the moment; start one with `xalora miner`"
        ),
        "continued": "continued from an earlier run",
        "reused_free": "reused, no charge",
        "resent": "sent again under its job id after a break",
        "file": "{kind} file",
        "size": "{width}×{height}",
        "size_asked": "{width}×{height}, asked for {asked}",
        "frame": "{count} frame",
        "frame_asked": "{count} frame, asked for {asked}",
        "frames": "{count} frames",
        "frames_asked": "{count} frames, asked for {asked}",
        "rate_asked": "{rate} frames per second, asked for {asked}",
    }
    """The English words of each code. What stands in braces is a value."""

    def __init__(self, code: str, **values: object) -> None:
        self.code = code
        self.values = values

    def __str__(self) -> str:
        return self.WORDS[self.code].format(**self.values)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.code}: {self}>"

    @staticmethod
    def line(parts: Iterable[StatusPart]) -> str:
        """The English line of these parts.

        Args:
            parts: What the line says, in its order.

        Returns:
            For example "848×480 · 73 frames".
        """
        return " · ".join(map(str, parts))
