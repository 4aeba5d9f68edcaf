"""What public signatures mention can be imported from a public module, and is never Any."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from tests.support.public_modules import PUBLIC

MODULE_OF = {name: module for module, names in PUBLIC.items() for name in names}

FROM_ELSEWHERE = {
    *(
        "Any",
        "AsyncGenerator",
        "Awaitable",
        "BaseException",
        "Callable",
        "ClassVar",
        "E",
        "ForwardRef",
        "Collection",
        "Iterable",
        "Iterator",
        "Literal",
        "Mapping",
        "NDArray",
        "None",
    ),
    *("Path", "PathLike", "Random", "Sequence", "Unpack"),
}
"""Names of Python's own and of numpy, and a type variable: an error of the same class."""


def functions(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A public name's functions, and those that it inherits from bases that are ours."""
    if inspect.isfunction(value):
        yield name, value
    own = set()
    for kind in value.__mro__ if isinstance(value, type) else ():
        if not kind.__module__.startswith("xalora_client"):
            continue
        for member, part in vars(kind).items():
            part = part.fget if isinstance(part, property) else getattr(part, "__func__", part)
            if inspect.isfunction(part) and (member == "__init__" or not member.startswith("_")) and member not in own:
                own.add(member)
                yield f"{name}.{member}", part


def annotations(name: str) -> Iterator[tuple[str, str]]:
    """Where a type is mentioned, and the annotation as it is written."""
    value = getattr(import_module(MODULE_OF[name]), name)
    for place, function in functions(name, value):
        for parameter, annotation in function.__annotations__.items():
            if not parameter.startswith("_"):
                yield f"{place}: {parameter}", str(annotation)
    for kind in value.__mro__ if isinstance(value, type) else ():
        if kind.__module__.startswith("xalora_client"):
            for field, annotation in vars(kind).get("__annotations__", {}).items():
                if not field.startswith("_"):
                    yield f"{name}.{field}", str(annotation)


@pytest.mark.parametrize("name", MODULE_OF)
def test_what_is_mentioned_is_exported_and_no_any(name):
    mentioned = {
        f"{place}: {word}"
        for place, annotation in annotations(name)
        for word in re.findall(r"(?<![\w.])[A-Z]\w*", annotation)
        if word == "Any" or (word not in FROM_ELSEWHERE and word not in MODULE_OF)
    }
    assert sorted(mentioned) == []
