"""A key in this process: what keeps it out of texts, copies and pickles, and out of what servers send back."""

from __future__ import annotations

import html
import json
import re
from functools import lru_cache
from typing import Any, Generic, TypeVar
from urllib.parse import quote, quote_plus

from ..errors import ConfigurationError

T = TypeVar("T")

HIDDEN = "***"

SHORTEST_SECRET = 6
"""Keys shorter than this are not searched for in texts: they would match by accident."""


class Secret(Generic[T]):
    """A value that does not leave this process: no text, JSON, pickle or result of ``dataclasses.asdict`` has it."""

    __slots__ = ("_value",)

    def __init__(self, *value: T) -> None:
        self._value = value

    @staticmethod
    def of(value: Any) -> Secret[Any]:
        """The value as a secret, which it may be already, as a task's ``api_key`` is."""
        return value if isinstance(value, Secret) else Secret(value)

    def reveal(self) -> T:
        """The value. Raises ConfigurationError where this comes from a pickle."""
        if not self._value:
            raise ConfigurationError("Nothing was sent: a pickle does not hold the key", advice="Set the key again.")
        return self._value[0]

    def __eq__(self, other: object) -> bool:
        return self._value == (other._value if isinstance(other, Secret) else (other,))

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return HIDDEN

    def __deepcopy__(self, _: object) -> Secret[T]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, ()


def redact(text: str, secret: str) -> str:
    """Return the text with the secret replaced by ``***``, also as it is written in an address, in JSON or in HTML."""
    return _written(secret).sub(HIDDEN, text) if len(secret) >= SHORTEST_SECRET else text


@lru_cache
def _written(secret: str) -> re.Pattern[str]:
    return re.compile("".join(map(_ways, secret)))


def _ways(letter: str) -> str:
    if letter.isascii() and letter.isalnum():
        return letter
    escaped = quote(letter, safe="")
    ways = {letter, escaped, escaped.lower(), quote_plus(letter), json.dumps(letter)[1:-1], html.escape(letter)}
    return rf"\\?(?:{'|'.join(map(re.escape, sorted(ways)))})"
