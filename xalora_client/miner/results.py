"""What a prompt's history entry says: its end, and the files it made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import one_line
from .ends import Failure, PromptLostError, WorkflowFailedError


def check_end(entry: Mapping[str, Any], titles: dict[str, str]) -> None:
    """Raise WorkflowFailedError or PromptLostError unless the prompt ended well."""
    status = entry.get("status")
    if not isinstance(status, dict) or status.get("status_str") == "success":
        return
    for message in reversed(status.get("messages") or []):
        kind, data = message if isinstance(message, list) and len(message) == 2 else ("", {})
        if kind == "execution_interrupted":
            raise PromptLostError("Somebody stopped the prompt in ComfyUI")
        if kind == "execution_error" and isinstance(data, dict):
            raise WorkflowFailedError(
                Failure.at(data.get("node_id"), data.get("node_type"), data.get("exception_message"), titles)
            )
    raise WorkflowFailedError(Failure("ComfyUI gave no reason"))


def refusal(answer: Mapping[str, Any], titles: dict[str, str]) -> Failure:
    """Why ComfyUI did not take a prompt."""
    if failures := list(_node_failures(answer, titles, None)):
        return failures[0]
    error = answer.get("error")
    return Failure(_reason(error) if isinstance(error, dict) else one_line(str(error or "ComfyUI gave no reason")))


def dropped(answer: Mapping[str, Any], titles: dict[str, str], outputs: Iterable[str]) -> Failure | None:
    """Why ComfyUI took a prompt without the nodes ``outputs``; None when it runs those."""
    return next(_node_failures(answer, titles, set(outputs)), None)


def _node_failures(answer: Mapping[str, Any], titles: dict[str, str], outputs: set[str] | None) -> Iterator[Failure]:
    node_errors = answer.get("node_errors")
    for node_id, error in (node_errors if isinstance(node_errors, dict) else {}).items():
        if not isinstance(error, dict):
            continue
        dependent = error.get("dependent_outputs")
        if outputs is not None and isinstance(dependent, list) and outputs.isdisjoint(map(str, dependent)):
            continue
        reasons = [_reason(each) for each in error.get("errors") or [] if isinstance(each, dict)]
        yield Failure.at(node_id, error.get("class_type"), "; ".join(reasons), titles)


def _reason(error: Mapping[str, Any]) -> str:
    parts = [str(error.get(name)) for name in ("message", "details") if error.get(name)]
    return one_line(": ".join(dict.fromkeys(parts)), 500)


def result_files(entry: Mapping[str, Any], outputs: Iterable[str]) -> list[dict[str, str]]:
    """The files of the output nodes, as ``/view`` takes them; those that are kept before temporary ones.

    A node may report files under any name: SaveVideo does so under "images", others under "gifs".
    """
    reported = entry.get("outputs")
    files = []
    for node_id in outputs:
        shown = reported.get(node_id) if isinstance(reported, dict) else None
        for items in shown.values() if isinstance(shown, dict) else ():
            for each in items if isinstance(items, list) else ():
                if isinstance(each, dict) and isinstance(each.get("filename"), str):
                    files.append(
                        {
                            "filename": each["filename"],
                            "subfolder": str(each.get("subfolder") or ""),
                            "type": str(each.get("type") or "output"),
                        }
                    )
    return sorted(files, key=lambda file: file["type"] != "output")
