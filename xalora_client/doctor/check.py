"""What one part of an examination found."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import XaloraError

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Check:
    """What was found about one part of the setup. No text holds a secret.

    Attributes:
        name: The part, such as "key" or "bucket: write".
        status: "ok", "warning" (works, but look at it) or "problem" (something will not work).
        text: What was found.
        advice: What to do; empty when it is ok.
    """

    name: str
    status: str
    text: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """The check as a JSON object."""
        return {"name": self.name, "status": self.status, "text": self.text, "advice": self.advice}


def failed(name: str, error: XaloraError) -> Check:
    """The problem that an error stands for."""
    return Check(name, PROBLEM, error.what, error.advice)
