"""What goes wrong with a ComfyUI or a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..errors import ConfigurationError, NetworkError, ResponseError, TaskFailedError, one_line


class NothingToRunError(ConfigurationError):
    """This ComfyUI can run none of the workflows."""

    def __init__(self) -> None:
        super().__init__(
            "This ComfyUI can run none of the workflows",
            advice="Mend the workflows that are named above, or name another folder after --workflows.",
        )


class UnreachableError(NetworkError):
    """ComfyUI gave no answer. ``refused`` says that nobody listens at its address."""

    def __init__(self, what: str, *, refused: bool = False) -> None:
        super().__init__(what, advice="Start ComfyUI there, or correct the address after --comfyui.")
        self.refused = refused


class UnexpectedAnswerError(ResponseError):
    """ComfyUI answered with something that is of no use. ``status`` is the HTTP status."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what, advice="Check that the address after --comfyui leads to a ComfyUI.")
        self.status = status


@dataclass(frozen=True)
class WorkflowFailure:
    """Why a workflow failed. The three about the node are empty where it was no single node."""

    message: str
    node_id: str = ""
    title: str = ""
    class_type: str = ""

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
        return asdict(self)

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


class WorkflowFailedError(TaskFailedError):
    """The workflow itself does not work with these values: trying again would not help."""

    def __init__(self, failure: WorkflowFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure
