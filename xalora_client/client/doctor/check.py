"""The result of one check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...errors import XaloraError

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Check:
    """What was found about one part of the setup. No text holds a secret.

    Attributes:
        name: The part, such as "key" or "bucket: write".
        status: "ok", "warning" (works, but should be looked at) or "problem" (something will not work).
        text: What was found.
        advice: What to do; empty when it is ok.
        error: What went wrong, where that is an error of the SDK. Its advice differs by where it is read.
        counts: How many "machines" and "workflows" there are, where a sequencer tells.
    """

    name: str
    status: str
    text: str
    advice: str = ""
    error: XaloraError | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def advice_for(self, surface: Literal["library", "command", "nodes"]) -> str:
        """What to do, for whoever reads it on that ``surface``: "library", "command" or "nodes"."""
        return self.advice if self.error is None else self.error.advice_for(surface)

    def to_json(self, surface: Literal["library", "command", "nodes"] = "library") -> dict[str, str]:
        """The check as a JSON object, for whoever reads it on that ``surface``."""
        return {"name": self.name, "status": self.status, "text": self.text, "advice": self.advice_for(surface)}


def failed(name: str, error: XaloraError, status: str = PROBLEM) -> Check:
    """The check that an error ended."""
    return Check(name, status, error.what, error.advice, error)
