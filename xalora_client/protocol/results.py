"""What the sequencer says about a task.

Fields and statuses are those of the product's "Text2Video Workflow" page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .links import Link


class TaskStatus(str, Enum):
    """The five states of a task; the last three are final."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"

    def __str__(self) -> str:
        return self.value


FINAL_STATUSES = frozenset({TaskStatus.FINISHED, TaskStatus.FAILED, TaskStatus.CANCELED})


@dataclass(frozen=True)
class WorkflowTaskResult:
    """One answer about one task.

    ``create_timestamp`` is in Unix seconds, the two latencies and ``timeout_seconds`` are in seconds. A field the
    server left out, or sent in a form that cannot be read, is None. ``extra`` keeps every field not known here.
    ``status`` is a TaskStatus, or the server's own word where that is none of the five.
    """

    task_id: str
    status: str
    result: Any = None
    task_type: str | None = None
    task_details: Any = None
    create_timestamp: float | None = None
    inference_latency: float | None = None
    upload_latency: float | None = None
    timeout_seconds: float | None = None
    workflow_id: str | None = None
    msg: str | None = None
    media_url: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the status will not change any more."""
        return self.status in FINAL_STATUSES

    @property
    def message(self) -> str | None:
        """The server's own words about the task, wherever it put them."""
        candidates = [self.msg, self.extra.get("message"), self.extra.get("error")]
        if self.status != TaskStatus.FINISHED:
            candidates.append(self.result)
        return next((text for text in candidates if isinstance(text, str) and text.strip()), None)

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], *, task_id: str, server: str) -> WorkflowTaskResult:
        """Read an answer that has a ``status``; ``server`` is the URL a bare file name is resolved against."""
        status = str(answer["status"])
        finished = status == TaskStatus.FINISHED
        return cls(
            task_id=_text(answer.get("task_id")) or task_id,
            status=TaskStatus(status) if status in {each.value for each in TaskStatus} else status,
            result=answer.get("result"),
            task_type=_text(answer.get("task_type")),
            task_details=answer.get("task_details"),
            create_timestamp=_number(answer.get("create_timestamp")),
            inference_latency=_number(answer.get("inference_latency")),
            upload_latency=_number(answer.get("upload_latency")),
            timeout_seconds=_number(answer.get("timeout_seconds")),
            workflow_id=_text(answer.get("workflow_id")),
            msg=_text(answer.get("msg")),
            media_url=_media_url(answer.get("result"), server) if finished else None,
            extra={name: value for name, value in answer.items() if name not in _KNOWN},
        )


_KNOWN = frozenset(WorkflowTaskResult.__dataclass_fields__) - {"media_url", "extra"}


def _media_url(result: Any, server: str) -> str | None:
    """Find the address in each form the docs show: a URL, ``{"url": ...}``, or a bare file name."""
    if isinstance(result, Mapping):
        result = result.get("url")
    if not isinstance(result, str) or not result.strip():
        return None
    address = result.strip()
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", address)
    if scheme is not None:
        # Any other scheme (file:, data:, ...) is no place to fetch from.
        return address if scheme[1].lower() in ("http", "https") else None
    try:
        return Link.parse(f"{server}/").join(address.replace("#", "%23")).text
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
