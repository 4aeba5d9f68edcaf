"""What goes wrong with a ComfyUI or a workflow, and how a task ends that has no result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..errors import ConfigurationError, NetworkError, ResponseError, one_line
from ..protocol.urls import Link


def parse_address(address: str, option: str, example: str) -> Link:
    """The address after a command-line option. Raises ConfigurationError if it cannot be used."""
    try:
        return Link.parse(address)
    except ValueError as error:
        what = f"The address after {option} cannot be used: {error}"
        raise ConfigurationError(what, advice=f"Write it like {example}.") from None


class UnreachableError(NetworkError):
    """ComfyUI gave no answer. ``connection_refused`` says that nobody listens at its address."""

    def __init__(self, what: str, *, connection_refused: bool = False) -> None:
        super().__init__(what, advice="Start ComfyUI there, or correct the address after --comfyui.")
        self.connection_refused = connection_refused


class UnexpectedAnswerError(ResponseError):
    """ComfyUI answered with something that cannot be used. ``status`` is the HTTP status."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what, advice="Check that the address after --comfyui leads to a ComfyUI.")
        self.status = status


@dataclass(frozen=True)
class WorkflowFailure:
    """The workflow does not work with these values.

    Attributes:
        message: Why, for the consumer.
        node_id: The node that failed. This and the next two are empty where it was no single node.
        title: Its title.
        class_type: Its class.
        summary: Why, for the log. It has nothing of the task's values.
        is_unable: Whether another miner may be able to run it: this one had too little memory, or began no node.
    """

    message: str
    node_id: str = ""
    title: str = ""
    class_type: str = ""
    summary: str = ""
    is_unable: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.node_id else self.message

    @property
    def where(self) -> str:
        """The node, for people; "" where it was no single one. It has nothing of the task's values."""
        if not self.node_id:
            return ""
        class_type = f" ({self.class_type})" if self.class_type and self.class_type != self.title else ""
        return f"Node {self.node_id} {self.title or self.class_type}{class_type}"

    def to_json(self) -> dict[str, str]:
        """For the submit's ``error``."""
        return {name: value for name, value in asdict(self).items() if name not in ("summary", "is_unable")}

    @classmethod
    def at(cls, node_id: object, class_type: object, message: object, titles: Mapping[str, str]) -> WorkflowFailure:
        """The failure of a node. ``titles`` is by node id; a node inside an expanded one has its id in front."""
        node = str(node_id)
        title = titles.get(node) or titles.get(node.split(".")[0].split(":")[0]) or ""
        return cls(
            one_line(str(message), 1000) or "ComfyUI gave no reason",
            one_line(node, 80),
            one_line(title, 120),
            one_line(str(class_type or ""), 120),
        )


@dataclass(frozen=True)
class Requeued:
    """Another miner gets the task, and may do better.

    Attributes:
        reason: Why.
        is_attempt: Whether it counts as one of the task's attempts: ComfyUI may have worked on it.
        has_died: Whether ComfyUI ended while it had the prompt.
        is_fit: Whether this ComfyUI may get another task. If not, it is gone or gives no useful answer.
    """

    reason: str
    is_attempt: bool = True
    is_fit: bool = False
    has_died: bool = False


class OutcomeError(Exception):
    """Ends a task, or the run of its prompt, with this outcome."""

    def __init__(self, outcome: WorkflowFailure | Requeued) -> None:
        super().__init__(outcome)
        self.outcome = outcome
