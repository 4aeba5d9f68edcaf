"""What a client sends to the sequencer, without I/O: requests and the credentials in them.

Every call is ``POST {server}/{endpoint}`` with a JSON body; the key travels in the body. Endpoints and bodies are
those recorded from the npm package ``heurist`` 0.0.43.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigurationError
from .hidden import Secret
from .parameters import Text
from .tasks import WorkflowTask

_TASK_ID = Text("a task's id")

_QUOTES = "\"'`\u00ab\u00b4\u00bb\u2018-\u201f\u2039\u203a\u300c-\u300f\uff02\uff07"
_AROUND = re.compile(rf"^[\s{_QUOTES}]+|[\s{_QUOTES}]+$")
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@dataclass(frozen=True, init=False)
class Credentials:
    """A consumer and its key. Both travel in the request's body; ``repr`` shows neither, and a pickle has no key.

    Attributes:
        consumer_id: Who creates tasks.
        api_key: The key, without the consumer.
    """

    consumer_id: str = field(repr=False)
    _key: Secret[str] = field(repr=False)

    def __init__(self, consumer_id: str, api_key: str) -> None:
        object.__setattr__(self, "consumer_id", consumer_id)
        object.__setattr__(self, "_key", Secret.of(api_key))

    @property
    def api_key(self) -> str:
        """The key. Raises ConfigurationError where this comes from a pickle."""
        return self._key.reveal()

    @classmethod
    def parse(cls, combined: str) -> Credentials:
        """Split a combined key. npm ``heurist`` 0.0.43 drops what follows a second separator; this keeps it.

        Args:
            combined: ``consumer#key``, split at the first ``#``; else ``consumer-key``, split at the first ``-``.

        Returns:
            Both parts.

        Raises:
            ConfigurationError: One part is missing, or it cannot be sent. The text does not contain the key.
        """
        combined = pasted(combined)
        separator = "#" if "#" in combined else "-"
        consumer_id, _, api_key = combined.partition(separator)
        if not consumer_id or not api_key or not Text("").accepts(combined):
            raise ConfigurationError(code="key_form", remedy="set-key")
        return cls(consumer_id, api_key)


def pasted(text: str) -> str:
    """A setting without what comes along when it is copied: blanks and quotes around it, and invisible characters."""
    return _AROUND.sub("", _INVISIBLE.sub("", text))


WITHOUT_KEY = "nobody#no-key-is-set"
NO_KEY = Credentials.parse(WITHOUT_KEY)
"""What a sequencer gets that may need no key."""


@dataclass(frozen=True)
class CreateRequest:
    """A task to create, by whom, and under which job id. ``details`` are the task's, with addresses, once known."""

    task: WorkflowTask
    credentials: Credentials
    job_id: str
    details: Any = None


@dataclass(frozen=True)
class Request:
    """One POST.

    Attributes:
        url: The address.
        body: The JSON object. It holds the key, so ``repr`` leaves it out.
        task_id: The task that it is about, or None.
        is_ascii: Whether all other characters are escaped, so that text that is not Unicode can be sent.
    """

    url: str
    body: Mapping[str, object] = field(repr=False)
    task_id: str | None = None
    is_ascii: bool = False

    @property
    def secret(self) -> str:
        """The key, which must not appear in anything shown to people."""
        return str(self.body.get("api_key") or self.body.get("miner_key") or "")

    @property
    def wait_seconds(self) -> float:
        """How long the server may wait before it answers."""
        return float(str(self.body.get("wait_seconds") or 0))

    def without_wait(self) -> Request:
        """The same request, to be answered at once."""
        body = {name: value for name, value in self.body.items() if name not in ("wait_seconds", "after")}
        return replace(self, body=body) if self.wait_seconds else self

    def content(self) -> bytes:
        """The body as it is sent. Raises TypeError, ValueError or RecursionError when it is not JSON."""
        return json.dumps(self.body, ensure_ascii=self.is_ascii, allow_nan=False).encode()


@dataclass(frozen=True)
class Response:
    """One answer.

    Attributes:
        status: The HTTP status.
        headers: Its headers; their names are in lower case.
        body: The whole body.
        received: The Unix time it arrived.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received: float


@dataclass(frozen=True)
class Sequencer:
    """Where requests go, and who sends them."""

    url: str
    credentials: Credentials

    def create(self, create_request: CreateRequest) -> Request:
        """``task_create``. ``workflow_id`` and ``timeout_seconds`` are left out when unset (or 0)."""
        task = create_request.task
        body: dict[str, Any] = {
            "consumer_id": create_request.credentials.consumer_id,
            "api_key": create_request.credentials.api_key,
            "task_type": task.task_type,
            "task_details": task.task_details if create_request.details is None else create_request.details,
            "job_id": create_request.job_id,
        }
        if task.workflow_id:
            body["workflow_id"] = task.workflow_id
        if task.timeout_seconds:
            body["timeout_seconds"] = task.timeout_seconds
        return Request(f"{self.url}/task_create", body)

    def query(self, task_id: str, credentials: Credentials, **waiting: float) -> Request:
        """``task_result_query``. Raises InvalidParameterError for what cannot be a task id.

        ``wait_seconds`` and ``after`` (a revision) are for servers that announced that queries may wait.
        """
        return self._for_task("task_result_query", task_id, credentials, **waiting)

    def cancel(self, task_id: str, credentials: Credentials) -> Request:
        """``task_cancel``. Raises InvalidParameterError for what cannot be a task id."""
        return self._for_task("task_cancel", task_id, credentials)

    def resource(self, consumer_id: str | None, workflow_id: str | None, task_type: str | None) -> Request:
        """``resource_request``."""
        credentials = Credentials(consumer_id or self.credentials.consumer_id, self.credentials.api_key)
        return self._about("resource_request", credentials, workflow_id, task_type)

    def workflow_list(self, credentials: Credentials, task_type: str | None, workflow_id: str | None) -> Request:
        """``workflow_list``, which only sequencers of ours have."""
        return self._about("workflow_list", credentials, workflow_id, task_type)

    def credentials_of(self, task: WorkflowTask) -> Credentials:
        """The task's own consumer and key where it has them, else the client's."""
        return Credentials(task.consumer_id or self.credentials.consumer_id, task.api_key or self.credentials.api_key)

    def _about(
        self, endpoint: str, credentials: Credentials, workflow_id: str | None, task_type: str | None
    ) -> Request:
        body = {"consumer_id": credentials.consumer_id, "api_key": credentials.api_key}
        optional = {"workflow_id": workflow_id, "task_type": task_type}
        return Request(f"{self.url}/{endpoint}", body | {name: value for name, value in optional.items() if value})

    def _for_task(self, endpoint: str, task_id: str, credentials: Credentials, **more: float) -> Request:
        _TASK_ID.check("task_id", task_id)
        body = {"task_id": task_id, "api_key": credentials.api_key, **more}
        return Request(f"{self.url}/{endpoint}", body, task_id=task_id)
