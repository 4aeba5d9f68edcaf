"""What goes wrong with a ComfyUI or a workflow, and how a task ends that has no result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    """The task has no result, for a reason that can be told.

    Attributes:
        message: Why, for the consumer.
        node_id: The node that failed. This and the next two are empty where it was no single node.
        title: Its title.
        class_type: Its class.
        summary: Why, for the log. It has nothing of the task's values.
        is_final: Whether the workflow does not work with these values. If not, another miner may be able to run it.
    """

    message: str
    node_id: str = ""
    title: str = ""
    class_type: str = ""
    summary: str = ""
    is_final: bool = True

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
        return {name: getattr(self, name) for name in ("message", "node_id", "title", "class_type")}

    @classmethod
    def at(
        cls, node_id: object, class_type: object, message: object, titles: Mapping[str, str], *, is_final: bool = True
    ) -> WorkflowFailure:
        """The failure of a node. ``titles`` is by node id; a node inside an expanded one has its id in front."""
        node = str(node_id)
        title = titles.get(node) or titles.get(node.split(".")[0].split(":")[0]) or ""
        return cls(
            one_line(str(message), 1000) or "ComfyUI gave no reason",
            one_line(node, 80),
            one_line(title, 120),
            one_line(str(class_type or ""), 120),
            is_final=is_final,
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

    @property
    def kind(self) -> str:
        """For the submit's ``give_back``."""
        return "died" if self.has_died else "lost" if self.is_attempt else "stopping"


def outcome_of(error: UnexpectedAnswerError, *, has_begun: bool) -> WorkflowFailure | Requeued:
    """The outcome when ComfyUI answers with what cannot be used. What it refuses once it may refuse forever."""
    if 400 <= error.status < 500 and not has_begun:
        return WorkflowFailure(error.what, summary="ComfyUI refused it", is_final=False)
    return Requeued(error.what)


class OutcomeError(Exception):
    """Ends a task, or the run of its prompt, with this outcome."""

    def __init__(self, outcome: WorkflowFailure | Requeued) -> None:
        super().__init__(outcome)
        self.outcome = outcome
