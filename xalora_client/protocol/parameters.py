"""What a task parameter may be: its rule, which checks values and makes command-line flags and widget ranges."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from urllib.parse import unquote_to_bytes

from ..errors import InvalidParameterError

_MOST_ESCAPES = 2**20
"""Each takes some hundred bytes of memory while it is decoded."""

MAX_SEED = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""


@dataclass(frozen=True)
class Rule:
    """What a task parameter may be. Base of the rules.

    Attributes:
        help: What the parameter means, in one line.
        wire_name: The parameter's name in the protocol. None means the name of the field.
    """

    help: str
    wire_name: str | None = None

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        raise AssertionError("a subclass says what it allows")

    def accepts(self, value: object) -> bool:
        """Whether the ``value`` is allowed."""
        raise AssertionError("a subclass says what it accepts")

    def check(self, field: str, value: object) -> None:
        """Refuse a value that is not allowed.

        Args:
            field: The parameter's name, for the error.
            value: The value to check.

        Raises:
            InvalidParameterError: The value is not allowed.
        """
        if not self.accepts(value):
            code, params = self.fault(field, value)
            raise InvalidParameterError(field, value, self.allowed, code=code, params=params)

    def fault(self, field: str, value: object) -> tuple[str, dict[str, object]]:
        """What is wrong with a value that is not allowed.

        Args:
            field: The name of the parameter.
            value: Its value.

        Returns:
            The code of the message, and what that says of the rule, by name.
        """
        return "invalid_parameter", {}


@dataclass(frozen=True)
class Whole(Rule):
    """A whole number from ``minimum`` to ``maximum``, ``remainder`` more than a multiple of ``step``."""

    minimum: int = 0
    maximum: int = MAX_SEED
    step: int = 1
    remainder: int = 0

    @property
    def allowed(self) -> str:
        """For example "a whole number from 1 to 1025 of the form 4k + 1"."""
        text = f"a whole number from {self.minimum} to {self.maximum}"
        if self.remainder:
            return f"{text} of the form {self.step}k + {self.remainder}"
        return f"{text}, a multiple of {self.step}" if self.step > 1 else text

    def fault(self, field: str, value: object) -> tuple[str, dict[str, object]]:
        """For one between two steps, the nearest that are allowed."""
        if not isinstance(value, int) or isinstance(value, bool):
            return super().fault(field, value)
        if not self.minimum <= value <= self.maximum:
            return _out_of_range(self.minimum, self.maximum)
        lower = value - (value - self.remainder) % self.step
        nearest = [each for each in (lower, lower + self.step) if self.minimum <= each <= self.maximum]
        return "off_step", {"nearest": " / ".join(map(str, nearest))}

    def accepts(self, value: object) -> bool:
        """Booleans and floats are refused: JSON writes them differently."""
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.minimum <= value <= self.maximum
            and value % self.step == self.remainder
        )


@dataclass(frozen=True)
class Number(Rule):
    """A finite number from ``minimum`` to ``maximum``."""

    minimum: float = 0.0
    maximum: float = 1.0

    @property
    def allowed(self) -> str:
        """For example "a number from 0 to 30"."""
        return f"a number from {number_text(self.minimum)} to {number_text(self.maximum)}"

    def fault(self, field: str, value: object) -> tuple[str, dict[str, object]]:
        """For a number, from where to where it may be."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return _out_of_range(self.minimum, self.maximum) if is_number else super().fault(field, value)

    def accepts(self, value: object) -> bool:
        """Booleans, NaN and infinities are refused."""
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and self.minimum <= value <= self.maximum  # Before isfinite, which raises for whole numbers above 1.8e308.
            and math.isfinite(value)
        )


@dataclass(frozen=True)
class Text(Rule):
    """A string that is not blank and can be sent as UTF-8."""

    @property
    def allowed(self) -> str:
        """The rule in words."""
        return "a text that is not empty"

    def accepts(self, value: object) -> bool:
        """Lone surrogates are refused: they cannot be sent."""
        return isinstance(value, str) and bool(value.strip()) and not re.search(r"[\ud800-\udfff]", value)

    def fault(self, field: str, value: object) -> tuple[str, dict[str, object]]:
        """A blank one has its own words."""
        if not isinstance(value, str) or value.strip():
            return super().fault(field, value)
        return "prompt_missing" if field == "prompt" else "text_missing", {}


@dataclass(frozen=True)
class MediaAddress(Rule):
    """An ``http(s)`` URL a miner can fetch, or a ``data:`` URI that holds the bytes."""

    @property
    def allowed(self) -> str:
        """The rule in words."""
        return "an http or https URL that the miner can reach, or a data: URI"

    def accepts(self, value: object) -> bool:
        """Only the scheme is checked; only the miner knows whether it can reach the address."""
        return isinstance(value, str) and (is_data_uri(value) or value[:8].lower().startswith(("http://", "https://")))


def number_text(number: float) -> str:
    """A number as people write it, such as "1,000,000" or "0.25", where Python would write 1e+06."""
    return f"{number:,.6f}".rstrip("0").rstrip(".")


def _out_of_range(minimum: float, maximum: float) -> tuple[str, dict[str, object]]:
    return "out_of_range", {"minimum": number_text(minimum), "maximum": number_text(maximum)}


def refuse_constant(name: str) -> float:
    """For ``json.loads(…, parse_constant=…)``: NaN and Infinity are no JSON. Raises ValueError."""
    raise ValueError(f"{name} is not a number that JSON has")


def finite(text: str) -> float:
    """For ``json.loads(…, parse_float=…)``: 1e400 would become Infinity. Raises ValueError."""
    value = float(text)
    return value if math.isfinite(value) else refuse_constant(text)


def is_data_uri(address: str) -> bool:
    """Whether this is a ``data:`` URI (RFC 2397), which holds bytes in place of an address. Case does not matter."""
    return address[:5].lower() == "data:"


def encode_data_uri(content: bytes, media_type: str) -> str:
    """Encode bytes as a ``data:`` URI, in base64.

    Args:
        content: The bytes of the file.
        media_type: Their type, such as "image/png".

    Returns:
        The URI.
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def decode_data_uri(uri: str) -> tuple[str, bytes]:
    """The media type, in lower case, and the bytes. Raises ValueError, with the reason, if they cannot be decoded."""
    media_type = uri[5:].partition(",")[0].partition(";")[0].strip().lower()
    return media_type, b"".join(data_uri_bytes([uri.encode()]))


def data_uri_bytes(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes in a ``data:`` URI that comes in pieces, the first of which has its comma.

    Raises ValueError, with the reason, if they cannot be decoded.
    """
    rest = iter(pieces)
    head, comma, first = next(rest, b"").partition(b",")
    if not comma:
        raise ValueError("it has no comma")
    content = _unquoted(chain([first], rest))
    options = [option.strip().lower() for option in head.split(b";")[1:]]
    yield from _decoded(content) if b"base64" in options else content


def _unquoted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest, escapes = b"", 0
    for piece in pieces:
        escapes += piece.count(b"%")
        if escapes > _MOST_ESCAPES:
            raise ValueError("it has too many percent signs; encode it in base64")
        rest += piece
        cut = rest.find(b"%", -2)  # An escape may go on in the next piece.
        whole = len(rest) if cut < 0 else cut
        yield unquote_to_bytes(rest[:whole])
        rest = rest[whole:]
    yield unquote_to_bytes(rest)


def _decoded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    try:
        for piece in pieces:
            rest += piece.translate(None, b" \t\r\n\f\v")  # Some break it into lines.
            padding = rest.find(b"=")
            whole = (len(rest) if padding < 0 else padding) // 4 * 4
            yield base64.b64decode(rest[:whole], validate=True)
            rest = rest[whole:]
            if len(rest) > 4:
                raise ValueError("something follows its padding")
        yield base64.b64decode(rest, validate=True)
    except ValueError as error:
        raise ValueError(f"it is not base64: {error}") from error
