"""Who is asking: the two halves of an API key, kept out of every text."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ConfigurationError

HIDDEN = "***"

SHORTEST_SECRET = 6
"""Keys shorter than this are not looked for in texts: they would match by accident."""


@dataclass(frozen=True)
class Credentials:
    """A consumer and its key. Both travel in the request's body; ``repr`` shows neither."""

    consumer_id: str = field(repr=False)
    api_key: str = field(repr=False)

    @classmethod
    def parse(cls, combined: str) -> Credentials:
        """Split ``consumer#key`` at the first ``#``, or ``consumer-key`` at the first ``-``.

        The rest is kept whole, unlike in npm ``heurist`` 0.0.43, which drops what follows a second separator.
        Raises ConfigurationError, without the key in its text, when one half is missing.
        """
        combined = combined.strip()
        separator = "#" if "#" in combined else "-"
        consumer_id, _, api_key = combined.partition(separator)
        if not consumer_id or not api_key:
            raise ConfigurationError(
                "The API key is not in the form consumer#key",
                advice="Copy the whole key from your Xalora account into XALORA_API_KEY.",
            )
        return cls(consumer_id, api_key)


def redact(text: str, secret: str) -> str:
    """Return the text with the secret replaced by ``***``."""
    return text.replace(secret, HIDDEN) if len(secret) >= SHORTEST_SECRET else text
