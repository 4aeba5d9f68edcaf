"""A workflow compared with a ComfyUI: what it takes, what is wrong with it, and the prompt for one run."""

from __future__ import annotations

import copy
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import one_line
from .capability import FACTORS, MOST_SHOWN, Capability
from .file import TitleError, Workflow, find_widget, read_title, shown_title
from .object_info import CHOICES, declared, guessed, is_link, names_file, parameter, read
from .parameter import MergeError, Parameter, merge
from .validation import (
    Declarations,
    as_listed,
    circle,
    converted,
    is_filled_by_editor,
    is_model_file,
    link_problem,
    needed,
    result_kind,
    value_problem,
)

PREFIX = "filename_prefix"
_TEXT = ["STRING"]
_OUTSIDE = re.compile(r"([A-Za-z]:)?/|\.\.(/|$)")
_SIZING = re.compile("scale|resize|crop|pad", re.IGNORECASE)
_UNOPENED = re.compile("workflow[>/]|[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$")
_RUN = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)


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
        titles: Each node's title without the words that bind, or its class where it has none, by node id.
        bindings: For each parameter the widgets it sets, as (node id, widget).
        kind: What comes out, as far as it can be told: see ``validation.result_kind``.
        models: The files of models that it always uses.
        factor: How many times as wide and high it makes an image, where that is fixed and can be told.
    """

    workflow: Workflow
    parameters: Mapping[str, Parameter]
    faults: tuple[Fault, ...]
    outputs: tuple[str, ...]
    titles: Mapping[str, str]
    bindings: Mapping[str, tuple[tuple[str, str], ...]]
    kind: str = ""
    models: tuple[str, ...] = ()
    factor: float | None = None

    @property
    def capability(self) -> Capability:
        """What a miner announces to a sequencer."""
        outputs = (self.kind,) if self.kind else ()
        return Capability(self.workflow.key, self.parameters, outputs, self.models, self.factor)

    def prompt(self, values: Mapping[str, Any], *, run: str) -> dict[str, Any]:
        """The prompt for one run, in API format.

        Args:
            values: The values that were sent. An image is ComfyUI's name of the uploaded file, such as "a.png [temp]".
            run: A name of this run alone, 1 to 100 of A-Z a-z 0-9 _ -. It ends every ``filename_prefix``, or
                replaces it where it comes from another node; an output without one gets another input. ComfyUI would
                answer a prompt that it knows with the files of an earlier run.

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
        for node in nodes.values():  # ComfyUI accepts what is left over of a removed node, and cannot run it.
            node["inputs"] = {
                name: value for name, value in node["inputs"].items() if not is_link(value) or value[0] in nodes
            }
        for name, value in resolved.items():
            for node_id, widget in self.bindings[name]:
                nodes[node_id]["inputs"][widget] = value
        for node_id, node in nodes.items():
            if PREFIX in node["inputs"]:
                prefix = node["inputs"][PREFIX]
                node["inputs"][PREFIX] = run if is_link(prefix) else f"{converted(prefix, _TEXT)}_{run}"
            elif node_id in self.outputs:
                node["inputs"]["xalora_run"] = run  # ComfyUI compares what a node does not take, too, and drops it.
        return nodes


def check(workflow: Workflow, object_info: Mapping[str, Any] | None) -> CheckedWorkflow:
    """Compare a workflow with a ComfyUI.

    Args:
        workflow: The workflow. What is checked is a copy in which files are named with that ComfyUI's slashes.
        object_info: The answer of that ComfyUI's ``/object_info``. Without it, kinds are guessed from the values, and
            neither ranges nor choices are known.
    """
    nodes = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in workflow.nodes.items()}
    return _Check(replace(workflow, nodes=nodes), object_info).done()


class _Node(NamedTuple):
    node_id: str
    class_type: str
    inputs: Mapping[str, Any]
    declarations: Declarations | None

    def declaration(self, name: str) -> Any:
        """What the node's class declares of an input; None where that is not known."""
        return (self.declarations or {}).get(name, (None,))[0]


@dataclass
class _Check:
    workflow: Workflow
    object_info: Mapping[str, Any] | None
    faults: list[Fault] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    bindings: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    file_links: list[tuple[str, str, str]] = field(default_factory=list)
    declared: dict[str, Declarations] = field(default_factory=dict)
    marked: list[str] = field(default_factory=list)

    def done(self) -> CheckedWorkflow:
        nodes = self.workflow.nodes
        for node_id, node in nodes.items():
            title = node.get("_meta", {}).get("title")
            self.titles[node_id] = title if isinstance(title, str) and title.strip() else node["class_type"]
        if not any("_meta" in node for node in nodes.values()):
            self._fault("", "no node has a title, so nothing is bound: use File → Export (API) of a newer ComfyUI")
        for node_id, node in nodes.items():
            self._node(node_id, node["class_type"], node["inputs"])
        self._check_file_links()
        outputs = self._outputs()
        sources = needed(nodes, self.declared, outputs)
        self._check_inputs(sources)
        return CheckedWorkflow(
            self.workflow,
            self.parameters,
            outputs=outputs,
            faults=tuple(self.faults),
            titles={key: shown_title(title) or nodes[key]["class_type"] for key, title in self.titles.items()},
            bindings={name: tuple(widgets) for name, widgets in self.bindings.items()},
            kind=self._kind(outputs[0]) if outputs else "",
            models=tuple(dict.fromkeys(value for _, value in self._fixed(sources) if is_model_file(value)))[
                :MOST_SHOWN
            ],
            factor=self._factor(sources),
        )

    def _fault(self, node_id: str, message: str) -> None:
        self.faults.append(Fault(self.workflow.file, message, node_id, self.titles.get(node_id, "")))

    @contextmanager
    def _describing(self, node_id: str) -> Iterator[None]:
        """Report what goes wrong inside because ComfyUI describes the node's class in another form."""
        try:
            yield
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError, StopIteration):
            unknown = one_line(self.workflow.nodes[node_id]["class_type"], 80)
            self._fault(node_id, f"this ComfyUI describes {unknown} in a form that is not known: update its pack")

    def _node(self, node_id: str, class_type: str, inputs: dict[str, Any]) -> None:
        """Check a node's title and bind it."""
        self.declared[node_id] = {}
        with self._describing(node_id):
            declarations = self._declarations(node_id, class_type, inputs)
            # Without a ComfyUI all links are followed.
            self.declared[node_id] = dict.fromkeys(inputs, (None, False)) if declarations is None else declarations
            for name in inputs.keys() & (declarations or {}).keys():
                inputs[name] = as_listed(class_type, name, inputs[name], self.declared[node_id][name][0])
            self._described(_Node(node_id, class_type, inputs, declarations))

    def _described(self, node: _Node) -> None:
        """Check a node's title by what its class declares."""
        node_id, inputs = node.node_id, node.inputs
        for name, value in inputs.items():
            declaration = node.declaration(name)
            can_be_text = is_link(value) and name != PREFIX and read(declaration)[0] in (*CHOICES, "STRING")
            if can_be_text and names_file(node.class_type, name, declaration):
                self.file_links.append((node_id, name, value[0]))
        if _OUTSIDE.match(posixpath.normpath(str(inputs.get(PREFIX, "")).replace("\\", "/"))):
            self._fault(node_id, f"{PREFIX} leads out of ComfyUI's output folder: write a path inside it")
        try:
            bindings, is_output = read_title(self.titles[node_id])
        except TitleError as error:
            self._fault(node_id, str(error))
        else:
            self._bind(node, bindings)
            if is_output:
                self.marked.append(node_id)

    def _declarations(self, node_id: str, class_type: str, inputs: Mapping[str, Any]) -> Declarations | None:
        """What the node's class declares of its inputs; None where that is not known."""
        if _UNOPENED.match(class_type):
            self._fault(
                node_id, "this is a group or subgraph that the export left closed: ungroup it, and export again"
            )
            return None
        if self.object_info is None:
            return None
        if class_type not in self.object_info:
            unknown = one_line(class_type, 80)
            self._fault(node_id, f"this ComfyUI has no node {unknown}: install its pack, or update ComfyUI")
            return None
        groups = self.object_info[class_type].get("input") or {}
        return {name: (declaration, required) for name, declaration, required in declared(groups, inputs)}

    def _bind(self, node: _Node, bindings: list[tuple[str, str | None]]) -> None:
        """Make the parameters that a title binds."""
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
                self._add(node.node_id, widget, found)

    def _parameter(self, node: _Node, name: str, widget: str) -> Parameter:
        """The parameter that a widget makes. Raises TitleError when it makes none."""
        value, found, declaration = node.inputs[widget], None, node.declaration(widget)
        if node.declarations is not None:
            if widget not in node.declarations:
                class_type = one_line(node.class_type, 80)
                raise TitleError(f"input:{name}: {class_type} has no widget {widget}: export again")
            if value is not None:
                with suppress(TypeError, ValueError, OverflowError):  # Reported with the other values.
                    used = converted(value, declaration)
                    value = value if value == used else used
            found = parameter(name, value, declaration)
        if found is None and read(declaration)[0] not in CHOICES:  # Some types, such as COLOR, declare no range.
            found = guessed(name, value, node.class_type, widget)
        if found is not None and found.kind == "choice" and is_filled_by_editor(node.class_type, value, found.choices):
            found = Parameter(name, "text", value)
        if found is not None and found.kind in ("text", "choice") and names_file(node.class_type, widget, declaration):
            if found.kind == "text":
                raise TitleError(
                    f"input:{name}: {widget} names a file of this machine, so it cannot be set from outside"
                )
            found = Parameter(name, "image")
        if found is None:
            raise TitleError(f"input:{name}: {widget} holds nothing that can be set from outside")
        if found.kind == "choice" and value not in found.choices:
            if not found.choices:
                missing = f"{widget}: this ComfyUI has no file to choose from: put one into its models folder"
                self._fault(node.node_id, missing)
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

    def _fixed(self, sources: Iterable[str]) -> list[tuple[str, Any]]:
        """The values of these nodes that no task changes, each with its widget."""
        bound = {each for widgets in self.bindings.values() for each in widgets}
        return [
            each
            for node_id in self.workflow.nodes
            if node_id in sources
            for each in self.workflow.nodes[node_id]["inputs"].items()
            if (node_id, each[0]) not in bound
        ]

    def _factor(self, sources: Iterable[str]) -> float | None:
        """The factor of the one node that changes the size of an image. What a model makes of it is not known."""
        sizing = [node_id for node_id in sources if _SIZING.search(self.workflow.nodes[node_id]["class_type"])]
        factors = [value for name, value in self._fixed(sizing) if name in FACTORS]
        return factors[0] if len(sizing) == len(factors) == 1 and isinstance(factors[0], int | float) else None

    def _check_inputs(self, sources: Mapping[str, set[str]]) -> None:
        """Check the inputs of these nodes, as ComfyUI does."""
        nodes = self.workflow.nodes
        replaced = {
            each for name, widgets in self.bindings.items() if self.parameters[name].required for each in widgets
        }
        for node_id in [node_id for node_id in nodes if node_id in sources]:
            class_type, inputs = nodes[node_id]["class_type"], nodes[node_id]["inputs"]
            with self._describing(node_id):
                for name, (declaration, required) in self.declared[node_id].items():
                    value, problem = inputs.get(name), None
                    if name not in inputs:
                        problem = f"{name} has no value: connect or set it, and export again" if required else None
                    elif isinstance(value, list):
                        problem = link_problem(name, value, declaration, nodes, self.object_info)
                    elif self.object_info is not None and (node_id, name) not in replaced:
                        problem = value_problem(class_type, name, value, declaration)
                    if problem is not None:
                        self._fault(node_id, problem)
        if looped := circle(sources):
            self._fault(looped[0], f"its links make a circle (nodes {', '.join(looped)}): remove one of them")

    def _is_output(self, node_id: str) -> bool | None:
        """Whether the node is an output by ComfyUI's word; None without it: every node may be one."""
        described = (self.object_info or {}).get(self.workflow.nodes[node_id]["class_type"])
        said = described.get("output_node") if isinstance(described, Mapping) else None
        return None if said is None else bool(said)

    def _kind(self, node_id: str) -> str:
        node = self.workflow.nodes[node_id]
        return result_kind(
            node["class_type"], node["inputs"], self.declared[node_id], self.workflow.nodes, self.object_info
        )

    def _outputs(self) -> tuple[str, ...]:
        marked = self.marked
        ends = [node_id for node_id in self.workflow.nodes if self._is_output(node_id) is not False]
        saving = [node_id for node_id in ends if PREFIX in self.workflow.nodes[node_id]["inputs"]]
        saving = saving or [node_id for node_id in ends if self._is_output(node_id)]
        found = [node_id for node_id in marked if node_id in ends]
        kinds = {self._kind(node_id) for node_id in (found if marked else saving or ends)}
        for node_id in marked:
            if node_id not in ends:
                self._fault(node_id, "'output' marks a node that is no output of ComfyUI: mark one that saves a file")
        if len(found) > 1:
            self._fault("", f"'output' marks nodes {', '.join(found)}: a task has one result, so mark one of them")
        elif kinds and kinds.isdisjoint(("image", "video", "")):
            made = f"only {' and '.join(sorted(kinds))} comes out"
            self._fault("", f"{made}, and only images and videos come back: add Save Image or Save Video")
        elif not marked and not saving:
            self._fault("", "no node saves a file: add Save Image or Save Video")
        elif not marked and len(saving) > 1:
            self._fault(
                "", f"nodes {', '.join(saving)} save files: put 'output' into the title of the one with the result"
            )
        return tuple(found if marked else saving)
