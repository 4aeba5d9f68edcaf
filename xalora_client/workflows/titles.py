"""The words in a node's title that bind parameters: ``input:NAME``, ``input:NAME=WIDGET`` and ``output``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import one_line

_BINDING = re.compile(r"input:([A-Za-z_][A-Za-z0-9_-]{0,99})(?:=(\S+))?", re.ASCII)
_MEANT_AS_ONE = re.compile(r"inputs?[:=]", re.IGNORECASE)
OUTPUT = "output"


class TitleError(ValueError):
    """A word in a title cannot be followed; the message says why and how to write it."""


@dataclass(frozen=True)
class Words:
    """What a title says.

    Attributes:
        bindings: Pairs of a parameter's name and the widget named for it, or None where the title names none.
        is_output: Whether the node's file is the result.
    """

    bindings: tuple[tuple[str, str | None], ...]
    is_output: bool


def read_title(title: str) -> Words:
    """Read the words of a title. All others are free text.

    Raises:
        TitleError: A word looks like a binding and is none.
    """
    bindings: list[tuple[str, str | None]] = []
    before = ""
    for word in title.split():
        if match := _BINDING.fullmatch(word):
            bindings.append((match[1], match[2]))
        elif word.startswith("=") and _BINDING.fullmatch(before):
            raise TitleError(f"'{before} {word[:60]}' is cut by a space: write input:NAME=WIDGET in one word")
        elif _MEANT_AS_ONE.match(word):
            raise TitleError(f"{one_line(word, 60)!r} binds nothing: write input:NAME, with spaces only between words")
        before = word
    # Twice the same word means nothing more than once.
    return Words(tuple(dict.fromkeys(bindings)), OUTPUT in title.split())


def find_widget(name: str, widget: str | None, plain: Iterable[str], linked: Iterable[str]) -> str:
    """Which widget of a node a word binds.

    Args:
        name: The parameter's name.
        widget: The widget named in the title, or None.
        plain: The node's inputs that have a value.
        linked: The node's inputs that come from another node.

    Raises:
        TitleError: There is no such widget, or it cannot be told which is meant.
    """
    values, links = list(plain), list(linked)
    wanted = widget or name
    if wanted in values:
        return wanted
    if wanted in links:
        raise TitleError(f"input:{name}: {wanted} comes from another node; bind it there")
    if widget is not None:
        raise TitleError(f"input:{name}={widget}: the node has no value {widget}; it has {', '.join(values) or 'none'}")
    if len(values) == 1:
        return values[0]
    if not values:
        raise TitleError(f"input:{name} binds nothing: the node has no value of its own")
    raise TitleError(f"input:{name} could be any of {', '.join(values)}: write input:{name}=WIDGET")
