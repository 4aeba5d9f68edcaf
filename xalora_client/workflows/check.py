"""A workflow compared with a ComfyUI: what it takes, what is wrong with it, and the prompt for one run."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import one_line
from .capability import Capability
from .file import TitleError, Workflow, find_widget, read_title
from .object_info import CHOICES, declared, guessed, is_link, names_file, parameter, read
from .parameter import MergeError, Parameter, merge

PREFIX = "filename_prefix"
_RUN = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_MODEL_FILE = re.compile(r".*\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx)", re.IGNORECASE)
_UPLOADED = re.compile(r".*(\[(input|output|temp)\]|/.*)")
# Types of V3 whose inputs are named by rules of their own.
_NOT_CHECKED = ("COMFY_AUTOGROW", "COMFY_MATCHTYPE")


@dataclass(frozen=True)
class Fault:
    """Something that keeps a workflow from running.

    Attributes:
        file: The workflow file.
        message: What is wrong, and what to do.
        node_id: The node, or "" where it is the whole file.
        title: The node's title, or its class.
    """

    file: Path
    message: str
    node_id: str = ""
    title: str = ""

    def __str__(self) -> str:
        node = f" node {self.node_id} ({one_line(self.title, 80)}):" if self.node_id else ""
        return f"{self.file.name}:{node} {self.message}"

    def to_json(self) -> dict[str, str]:
        """For ``--json``."""
        return {"file": self.file.name, "node_id": self.node_id, "title": self.title, "message": self.message}


@dataclass(frozen=True)
class CheckedWorkflow:
    """A workflow and what was found out about it. With faults it must not be run.

    Attributes:
        workflow: The file.
        parameters: What it takes, by name, in the order of its nodes.
        faults: What is wrong with it.
        outputs: The ids of the nodes whose files are the result: one, where there are no faults.
        titles: Each node's title, or its class where it has none, by node id.
        bindings: For each parameter the widgets it sets, as (node id, widget).
    """

    workflow: Workflow
    parameters: Mapping[str, Parameter]
    faults: tuple[Fault, ...]
    outputs: tuple[str, ...]
    titles: Mapping[str, str]
    bindings: Mapping[str, tuple[tuple[str, str], ...]]

    @property
    def capability(self) -> Capability:
        """What a miner announces to a sequencer."""
        return Capability(self.workflow.key, self.parameters)

    def prompt(self, values: Mapping[str, Any], *, run: str) -> dict[str, Any]:
        """The prompt for one run, in API format.

        Args:
            values: The values that were sent. An image is ComfyUI's name of the uploaded file, such as "a.png [temp]".
            run: A name of this run alone, 1 to 100 of A-Z a-z 0-9 _ -. It ends every ``filename_prefix``: ComfyUI
                would answer a prompt that it knows with the files of an earlier run.

        Raises:
            InvalidParameterError: A value is not allowed, or one is missing.
            ValueError: ``run`` has other characters.
        """
        if not _RUN.fullmatch(run):
            raise ValueError(f"not a name of a run: {run!r}")
        images = {name: values[name] for name in self.capability.images if name in values}
        # What an image may be was checked when it was sent; here it is a file's name, not an address.
        addresses = dict.fromkeys(images, "data:,")
        resolved = self.capability.resolve({**values, **addresses}) | images
        nodes = {
            node_id: {name: copy.deepcopy(value) for name, value in node.items() if name != "_meta"}
            for node_id, node in self.workflow.nodes.items()
        }
        for name, value in resolved.items():
            for node_id, widget in self.bindings[name]:
                nodes[node_id]["inputs"][widget] = value
        for node in nodes.values():
            prefix = node["inputs"].get(PREFIX)
            if isinstance(prefix, str):
                node["inputs"][PREFIX] = f"{prefix}_{run}"
        return nodes


def check(workflow: Workflow, object_info: Mapping[str, Any] | None) -> CheckedWorkflow:
    """Compare a workflow with a ComfyUI.

    Args:
        workflow: The workflow.
        object_info: The answer of that ComfyUI's ``/object_info``. Without it, kinds are guessed from the values, and
            neither ranges nor choices are known.
    """
    return _Check(workflow, object_info).done()


class _Node(NamedTuple):
    node_id: str
    class_type: str
    inputs: Mapping[str, Any]
    declarations: Mapping[str, Any] | None


@dataclass
class _Check:
    workflow: Workflow
    object_info: Mapping[str, Any] | None
    faults: list[Fault] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    bindings: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    file_links: list[tuple[str, str, str]] = field(default_factory=list)

    def done(self) -> CheckedWorkflow:
        nodes = self.workflow.nodes
        for node_id, node in nodes.items():
            title = node.get("_meta", {}).get("title")
            self.titles[node_id] = title if isinstance(title, str) and title.strip() else node["class_type"]
        if not any("_meta" in node for node in nodes.values()):
            self._fault("", "no node has a title, so nothing is bound: use File → Export (API) of a newer ComfyUI")
        marked = [node_id for node_id, node in nodes.items() if self._node(node_id, node["class_type"], node["inputs"])]
        self._check_file_links()
        return CheckedWorkflow(
            self.workflow,
            self.parameters,
            # First, because it reports too.
            outputs=self._outputs(marked),
            faults=tuple(self.faults),
            titles=self.titles,
            bindings={name: tuple(widgets) for name, widgets in self.bindings.items()},
        )

    def _fault(self, node_id: str, message: str) -> None:
        self.faults.append(Fault(self.workflow.file, message, node_id, self.titles.get(node_id, "")))

    def _node(self, node_id: str, class_type: str, inputs: Mapping[str, Any]) -> bool:
        """Check a node. Returns whether its title marks it as the output."""
        try:
            return self._described(_Node(node_id, class_type, inputs, self._declarations(node_id, class_type, inputs)))
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
            unknown = one_line(class_type, 80)
            self._fault(node_id, f"this ComfyUI describes {unknown} in a form that is not known: update its pack")
            return False

    def _described(self, node: _Node) -> bool:
        """Check a node by what its class declares. Returns whether its title marks it as the output."""
        node_id, inputs = node.node_id, node.inputs
        for name, value in inputs.items():
            if is_link(value) and value[0] not in self.workflow.nodes:
                self._fault(node_id, f"{name} comes from node {value[0]}, which is not in the file: export again")
            declaration = (node.declarations or {}).get(name)
            can_be_text = is_link(value) and name != PREFIX and read(declaration)[0] in (*CHOICES, "STRING")
            if can_be_text and names_file(node.class_type, name, declaration):
                self.file_links.append((node_id, name, value[0]))
        if is_link(inputs.get(PREFIX)):
            self._fault(node_id, f"{PREFIX} comes from another node: type it in, it is made unique for each run")
        try:
            bindings, is_output = read_title(self.titles[node_id])
        except TitleError as error:
            self._fault(node_id, str(error))
            bindings, is_output = [], False
        self._check_values(node, set(self._bind(node, bindings)))
        return is_output

    def _declarations(self, node_id: str, class_type: str, inputs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the node's class declares of its inputs; None where that is not known."""
        if self.object_info is None:
            return None
        if class_type not in self.object_info:
            unknown = one_line(class_type, 80)
            self._fault(node_id, f"this ComfyUI has no node {unknown}: install its pack, or update ComfyUI")
            return None
        declarations = {}
        for name, declaration, required in declared(self.object_info[class_type].get("input") or {}, inputs):
            declarations[name] = declaration
            if required and name not in inputs and not read(declaration)[0].startswith(_NOT_CHECKED):
                self._fault(node_id, f"{name} has no value: connect or set it, and export again")
        return declarations

    def _bind(self, node: _Node, bindings: list[tuple[str, str | None]]) -> Iterator[str]:
        """Make the parameters that a title binds, and yield their widgets."""
        links = [name for name, value in node.inputs.items() if is_link(value)]
        values = [name for name in node.inputs if name not in links]
        bound: dict[str, str] = {}
        for name, named in bindings:
            try:
                widget = find_widget(name, named, values, links)
                if widget == PREFIX:
                    raise TitleError(f"input:{name}: {PREFIX} cannot be bound, it is made unique for each run")
                if widget in bound:
                    raise TitleError(f"input:{bound[widget]} and input:{name} both set {widget}: remove one")
                bound[widget] = name
                found = self._parameter(node, name, widget)
            except TitleError as error:
                self._fault(node.node_id, str(error))
            else:
                yield widget
                self._add(node.node_id, widget, found)

    def _parameter(self, node: _Node, name: str, widget: str) -> Parameter:
        """The parameter that a widget makes. Raises TitleError when it makes none."""
        value, found, declaration = node.inputs[widget], None, None
        if node.declarations is not None:
            if widget not in node.declarations:
                class_type = one_line(node.class_type, 80)
                raise TitleError(f"input:{name}: {class_type} has no widget {widget}: export again")
            declaration = node.declarations[widget]
            found = parameter(name, value, declaration)
        if found is None and read(declaration)[0] not in CHOICES:  # Some types, such as COLOR, declare no range.
            found = guessed(name, value, node.class_type, widget)
        if found is not None and found.kind in ("text", "choice") and names_file(node.class_type, widget, declaration):
            if found.kind == "text":
                raise TitleError(
                    f"input:{name}: {widget} names a file of this machine, so it cannot be set from outside"
                )
            found = Parameter(name, "image")
        if found is None:
            raise TitleError(f"input:{name}: {widget} holds nothing that can be set from outside")
        if found.kind == "choice" and not found.choices:
            missing = f"{widget}: this ComfyUI has no file to choose from: put one into its models folder"
            self._fault(node.node_id, missing)
        elif found.kind == "choice" and value not in found.choices:
            # Whoever sends a task can still choose one of those there are.
            return Parameter(name, "choice", choices=found.choices)
        return found

    def _check_file_links(self) -> None:
        """Report texts that are set from outside and lead to a file's name in another node."""
        bound = {
            node_id: name
            for name, widgets in self.bindings.items()
            for node_id, _ in widgets
            if self.parameters[name].kind == "text"
        }
        for node_id, widget, source in self.file_links:
            sources, seen = [source], set[str]()
            while sources:
                source = sources.pop()
                if source in seen or source not in self.workflow.nodes:
                    continue
                seen.add(source)
                sources += [value[0] for value in self.workflow.nodes[source]["inputs"].values() if is_link(value)]
                if source in bound:
                    what = (
                        f"input:{bound[source]} leads to {widget} of node {node_id}, which names a file of this machine"
                    )
                    self._fault(source, f"{what}, so it cannot be set from outside")

    def _add(self, node_id: str, widget: str, found: Parameter) -> None:
        before = self.parameters.get(found.name)
        try:
            self.parameters[found.name] = found if before is None else merge(before, found)
        except MergeError as error:
            other, other_widget = self.bindings[found.name][0]
            self._fault(node_id, f"input:{found.name} also sets {other_widget} of node {other}, but {error}")
            return
        self.bindings.setdefault(found.name, []).append((node_id, widget))

    def _check_values(self, node: _Node, bound: set[str]) -> None:
        """Check the values in the file. Those of ``bound`` widgets are replaced by what is sent."""
        for widget, declaration in (node.declarations or {}).items():
            value = node.inputs.get(widget)
            rule = parameter(widget, value, declaration, sent=False)
            if value is None or is_link(value) or rule is None:
                continue
            fault = None
            if rule.kind == "image" and widget not in bound:
                options = read(declaration)[1].get("options") or []
                if value not in options and not _UPLOADED.fullmatch(str(value)):
                    fault = f"this ComfyUI has no image {one_line(str(value), 120)}: put it into its input folder"
            elif rule.kind == "choice" and widget not in bound and value not in rule.choices:
                fault = _missing(widget, value, rule)
            elif rule.kind in ("whole", "number") and not _in_range(value, rule):
                fault = f"{widget} is {one_line(repr(value), 80)}; allowed: {rule.allowed}"
            if fault is not None:
                self._fault(node.node_id, fault)

    def _outputs(self, marked: list[str]) -> tuple[str, ...]:
        saving = [node_id for node_id, node in self.workflow.nodes.items() if PREFIX in node["inputs"]]
        found = [node_id for node_id in marked if node_id in saving]
        for node_id in marked:
            if node_id not in saving:
                self._fault(
                    node_id, f"'output' marks a node that saves no file (it has no {PREFIX}): mark one that does"
                )
        if len(found) > 1:
            self._fault("", f"'output' marks nodes {', '.join(found)}: a task has one result, so mark one of them")
        elif not marked and not saving:
            self._fault("", "no node saves a file: add Save Image or Save Video")
        elif not marked and len(saving) > 1:
            self._fault(
                "", f"nodes {', '.join(saving)} save files: put 'output' into the title of the one with the result"
            )
        return tuple(found if marked else saving)


def _missing(widget: str, value: object, rule: Parameter) -> str:
    text = one_line(str(value), 120)
    if isinstance(value, str) and _MODEL_FILE.fullmatch(value):
        return f"this ComfyUI has no model file {text} for {widget}: put it into its models folder, or choose another"
    return f"{widget} is {text}; allowed: {rule.allowed}"


def _in_range(value: object, rule: Parameter) -> bool:
    """As ComfyUI checks it: whole numbers may be written as 24.0, and above 2**53."""
    return (
        isinstance(value, int | float)
        and (rule.minimum is None or value >= rule.minimum)
        and (rule.maximum is None or value <= rule.maximum)
    )
