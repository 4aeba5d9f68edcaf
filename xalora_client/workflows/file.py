"""Workflow files: their names, their format, what their node titles bind, and folders of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigurationError, one_line
from ..protocol.parameters import finite, refuse_constant
from .editor_format import lost_titles

_FILE_NAME = re.compile(r"([A-Za-z0-9_-]{1,100})(?:\.([A-Za-z0-9_-]{1,100}))?\.json", re.ASCII)
_EXPORT = "In ComfyUI, open the workflow and use File → Export (API)"
_BINDING = re.compile(r"input:([A-Za-z_][A-Za-z0-9_-]{0,99})(?:=(\S+))?", re.ASCII)
MOST_NAMED = 10
"""Nodes that one message names."""

_BLANK = re.compile(r"[\s\u200b\u2060\ufeff]+")
"""Between the words of a title; some blanks nobody sees."""
# Other spellings: capitals, the colons of other scripts, blanks inside, brackets around it.
_MEANT_AS_ONE = re.compile(r"\S*(?<!\w)inputs?\s*[:=：﹕︓∶꞉ː]\S*", re.IGNORECASE)


class WorkflowKey(NamedTuple):
    """Which workflow: ``task_type`` is a kind of task, ``workflow_id`` its id among those of its kind, or None.

    ``str`` gives "txt2vid.1", or "upscaler" where there is no id.
    """

    task_type: str
    workflow_id: str | None

    def __str__(self) -> str:
        return self.task_type if self.workflow_id is None else f"{self.task_type}.{self.workflow_id}"


class WorkflowFileError(ConfigurationError):
    """A file is not a workflow that can be read.

    Attributes:
        file: That file.
    """

    def __init__(self, file: Path, what: str, advice: str) -> None:
        super().__init__(f"{one_line(file.name, 120)}: {what}", advice=advice)
        self.file = file


@dataclass(frozen=True)
class Workflow:
    """One workflow file, read and of the right form, not yet compared with a ComfyUI.

    Attributes:
        key: Which workflow it is: what its file's name says.
        file: Where it was read from, or its bare name.
        nodes: The prompt in ComfyUI's API format: for each node id, ``class_type``, ``inputs`` and ``_meta``.
    """

    key: WorkflowKey
    file: Path
    nodes: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For example "txt2vid.1" or "upscaler"."""
        return str(self.key)

    @classmethod
    def from_nodes(cls, file: Path | str, nodes: object) -> Workflow:
        """Make a workflow from the contents of a file.

        Args:
            file: The file, named ``<task_type>.<workflow_id>.json`` or ``<task_type>.json``.
            nodes: What it contains, of any shape.

        Raises:
            WorkflowFileError: The name or the contents are not those of a workflow.
        """
        file = Path(file)
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            raise WorkflowFileError(
                file,
                "the name is not that of a workflow",
                "Name it <task_type>.<workflow_id>.json, or <task_type>.json.",
            )
        if isinstance(nodes, Mapping) and isinstance(nodes.get("nodes"), list):
            lost = "; ".join(lost_titles(nodes, _binds)[:MOST_NAMED])
            loses = f", whose export would lose titles: {lost}" if lost else ""
            raise WorkflowFileError(file, f"this is a workflow in the editor's format{loses}", f"{_EXPORT}.")
        if not isinstance(nodes, Mapping) or not nodes:
            raise WorkflowFileError(file, "this is not a workflow", f"{_EXPORT}.")
        for node_id, node in nodes.items():
            if not (
                isinstance(node, Mapping)
                and isinstance(node.get("class_type"), str)
                and isinstance(node.get("inputs"), Mapping)
                and isinstance(node.get("_meta", {}), Mapping)
            ):
                where = one_line(str(node_id), 40)
                raise WorkflowFileError(file, f"{where!r} is not a node with class_type and inputs", f"{_EXPORT}.")
        return cls(WorkflowKey(match[1], match[2]), file, nodes)


def read_workflow(file: Path) -> Workflow:
    """Read one workflow file.

    Raises:
        WorkflowFileError: It cannot be read, or is not a workflow.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        nodes = json.loads(text, parse_constant=refuse_constant, parse_float=finite)
    except OSError as error:
        raise WorkflowFileError(file, f"it cannot be read: {error.strerror}", "Make the file readable.") from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else one_line(str(error), 120)
        raise WorkflowFileError(file, f"this is not JSON: {reason}", f"{_EXPORT}.") from error
    return Workflow.from_nodes(file, nodes)


def try_folder(folder: Path) -> tuple[list[Workflow], list[WorkflowFileError]]:
    """Read every ``*.json`` of a folder, except hidden ones; ``*.JSON`` is an error.

    Args:
        folder: The folder.

    Returns:
        The workflows, ordered by name, and an error for each file that is not a workflow.

    Raises:
        ConfigurationError: There is no such folder, or it has no ``*.json``.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder {folder}", advice="Name a folder of workflow files.")
    workflows: list[Workflow] = []
    errors: list[WorkflowFileError] = []
    for file in sorted(folder.glob("[!.]*.[jJ][sS][oO][nN]")):  # Those in capitals are refused, not passed over.
        try:
            workflows.append(read_workflow(file))
        except WorkflowFileError as error:
            errors.append(error)
    if not workflows and not errors:
        advice = "Put workflow files there, named <task_type>.<workflow_id>.json, or run `xalora workflows copy DIR`."
        raise ConfigurationError(f"The folder {folder} has no workflow files", advice=advice)
    return workflows, errors


def read_folder(folder: Path) -> list[Workflow]:
    """Read every workflow file of a folder, ordered by name.

    Raises:
        ConfigurationError: There are none, or a file is not a workflow; every such file is named.
    """
    workflows, errors = try_folder(folder)
    if errors:
        what = "; ".join(error.what for error in errors)
        raise ConfigurationError(what, advice=" ".join(dict.fromkeys(error.advice for error in errors)))
    return workflows


class TitleError(ValueError):
    """A word in a title binds nothing; the message says why and how to write it."""


def read_title(title: str) -> tuple[list[tuple[str, str | None]], bool]:
    """Read the words of a title that bind parameters: ``input:NAME``, ``input:NAME=WIDGET`` and ``output``.

    Returns:
        Pairs of a parameter's name and the widget named for it, or None where the title names none; and whether the
        node's file is the result.

    Raises:
        TitleError: A word looks like a binding and is none.
    """
    bindings: dict[tuple[str, str | None], None] = {}  # The same word twice means nothing more than once.
    words, before = _BLANK.split(title), ""
    for word in words:
        if match := _BINDING.fullmatch(word):
            bindings[match[1], match[2]] = None
        elif word.startswith("=") and _BINDING.fullmatch(before):
            raise TitleError(f"'{before} {word[:60]}' is cut by a space: write input:NAME=WIDGET in one word")
        before = word
    if meant := _MEANT_AS_ONE.search(" ".join(word for word in words if not _BINDING.fullmatch(word))):
        advice = "write input:NAME, with spaces only between words"
        raise TitleError(f"{one_line(meant[0], 60)!r} binds nothing: {advice}")
    return list(bindings), "output" in words


def _binds(title: str) -> bool:
    """Whether a title has words that bind, or are meant to."""
    try:
        bindings, is_output = read_title(title)
    except TitleError:
        return True
    return bool(bindings) or is_output


def shown_title(title: str) -> str:
    """A title as people read it, without the words that bind."""
    return " ".join(word for word in _BLANK.split(title) if word != "output" and not _BINDING.fullmatch(word)).strip()


def find_widget(name: str, widget: str | None, values: Sequence[str], links: Sequence[str]) -> str:
    """Which widget of a node a word of its title binds.

    Args:
        name: The parameter's name.
        widget: The widget named in the title, or None.
        values: The node's inputs that have a value.
        links: The node's inputs that come from another node.

    Raises:
        TitleError: There is no such widget, or the word could mean several.
    """
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
