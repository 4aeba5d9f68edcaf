"""Snapshots: JSON files of what others depend on, compared with what is there now."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

WIDTH = 150


class Snapshot:
    """A file of sections. With UPDATE_OUTSIDE=1, ``check`` writes a section anew in place of comparing it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def check(self, section: str, found: Any, *, ordered: bool = False) -> None:
        """Fail unless the section is what was found; ``ordered`` counts the order of names, too."""
        found = json.loads(json.dumps(found))
        sections = json.loads(self.file.read_text()) if self.file.exists() else {}
        if os.environ.get("UPDATE_OUTSIDE"):
            self.file.write_text(pretty(sections | {section: found}) + "\n")
            return
        expected = sections[section]
        assert found == expected
        if ordered:
            assert pretty(found) == pretty(expected)


def pretty(value: Any, indent: int = 0) -> str:
    """JSON in which whatever fits into a line is one line."""
    line = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or (indent and indent + len(line) <= WIDTH):
        return line
    space = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [f"{space}{json.dumps(name)}: {pretty(each, indent + 1)}" for name, each in value.items()]
    else:
        parts = [space + pretty(each, indent + 1) for each in value]
    first, last = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return f"{first}\n" + ",\n".join(parts) + f"\n{' ' * indent}{last}"


def shape(value: Any) -> Any:
    """A JSON value with the name of its type in the place of each text and number; a list has each shape once."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        shapes: list[Any] = []
        for each in map(shape, value):
            if each not in shapes:
                shapes.append(each)
        return shapes
    return "null" if value is None else type(value).__name__
