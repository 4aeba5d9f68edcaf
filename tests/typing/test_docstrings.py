"""Each parameter is documented where ``help()`` and editors show it: the blocking and the asynchronous one alike."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from enum import Enum
from importlib import import_module
from typing import Any, Protocol

import pytest

from tests.support.public_modules import PUBLIC as PUBLIC_MODULES
from xalora_client import AsyncClient, AsyncTaskHandle, Client, TaskHandle

TWINS = [(Client, AsyncClient), (TaskHandle, AsyncTaskHandle)]


def is_ours(value: object) -> bool:
    return str(getattr(value, "__module__", "")).startswith("xalora_client")


def methods(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """A class's public methods, also those of its bases that are ours."""
    for name, value in inspect.getmembers(kind, callable):
        is_field = name in getattr(kind, "__dataclass_fields__", ())
        if not name.startswith("_") and is_ours(value) and not isinstance(value, type) and not is_field:
            yield name, value


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public class, its methods, and every public function."""
    for module, names in PUBLIC_MODULES.items():
        for name in names:
            value = getattr(import_module(module), name)
            if is_ours(value) and (isinstance(value, type) or inspect.isfunction(value)):
                yield name, value
            if isinstance(value, type):
                yield from ((f"{name}.{method}", found) for method, found in methods(value))


PUBLIC = dict(public())


def parameters(value: Callable[..., Any]) -> list[inspect.Parameter]:
    if {Enum, Protocol} & set(getattr(value, "__mro__", ())):  # Nobody makes one.
        return []
    found = inspect.signature(value).parameters.values()
    return [each for each in found if not each.name.startswith("_") and each.name != "self"]


def shown(value: Callable[..., Any]) -> str:
    """Its docstring; of a class, also that of its constructor."""
    docs = [inspect.getdoc(value) or ""]
    if isinstance(value, type) and is_ours(value.__init__):
        docs.append(inspect.getdoc(value.__init__) or "")
    return "\n\n".join(docs)


def listed(section: str, doc: str) -> set[str]:
    """The names in the sections with this title."""
    found = re.findall(rf"^{section}:\n((?:    .*\n?|\n)+)", doc, re.MULTILINE)
    return set(re.findall(r"^    (\w+): ", "".join(found), re.MULTILINE))


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_shown_names_every_parameter_and_no_other(name):
    value = PUBLIC[name]
    taken = {each.name for each in parameters(value)}
    arguments, attributes = listed("Args", shown(value)), listed("Attributes", shown(value))
    assert inspect.getdoc(value)
    assert taken - arguments - attributes - set(re.findall(r"``(\w+)``", shown(value))) == set()
    if not any(each.kind is each.VAR_KEYWORD for each in parameters(value)):
        assert arguments - taken == set()
    if is_dataclass(value):
        assert attributes - taken - set(dir(value)) == set()


def returned(method: Callable[..., Any]) -> str:
    """The type of what comes back, as the blocking kind names it."""
    written = str(inspect.signature(method).return_annotation)
    return written.replace("AsyncGenerator", "Iterator").replace("AsyncTaskHandle", "TaskHandle")


@pytest.mark.parametrize(("blocking", "awaited"), TWINS)
def test_both_kinds_take_the_same_and_have_their_docstrings_from_one_place(blocking, awaited):
    assert [name for name, _ in methods(blocking)] == [name for name, _ in methods(awaited)]
    for name, method in methods(blocking):
        twin = getattr(awaited, name)
        assert (parameters(method), returned(method)) == (parameters(twin), returned(twin)), name
        assert inspect.getdoc(method) == inspect.getdoc(twin), name
        assert (method.__doc__, twin.__doc__) == (None, None), name
