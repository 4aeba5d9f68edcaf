"""What the ledger holds: intents, what became of them, and how both are stored in the table ``tasks``.

An intent is what is asked for, as one hash: the same for the same work, no matter who asks and how often.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import InvalidParameterError
from ..protocol.answers import FINAL_STATUSES, TaskStatus, WorkflowTaskResult
from ..protocol.images import InputImage
from ..protocol.parameters import decode_data_uri, is_data_uri
from ..protocol.requests import Credentials, redact
from ..protocol.signed_links import unsigned
from ..protocol.tasks import WorkflowTask

LONGEST_TEXT = 16_384
"""The most characters of a text that is stored as it is. A longer one is probably data, and stored as its hash."""

CREATING, DOUBTFUL, REFUSED = "creating", "doubtful", "refused"
"""States of a task without an id: about to be sent, sent without a conclusive answer, not accepted."""

FINAL_STATES = frozenset({REFUSED, *(status.value for status in FINAL_STATUSES)})


@dataclass(frozen=True)
class Intent:
    """A task as the ledger knows it.

    ``server`` is the sequencer's address, or the lasting name of one whose address changes. ``parameters`` are those
    of the task, with media replaced by ``{"sha256", "bytes", "media_type"}``, very long texts by
    ``{"sha256", "characters"}``, and the key by ``***``.

    ``fingerprint`` is SHA-256, in hex, of server, consumer, task type, workflow id and parameters, with the content of
    media and not their addresses. The key, ``job_id_prefix`` and ``timeout_seconds`` are not part of it.
    """

    fingerprint: str
    server: str
    task_type: str
    workflow_id: str | None
    parameters: Any

    @classmethod
    def of(cls, server: str, task: WorkflowTask, credentials: Credentials) -> Intent:
        """The intent of a task; ``credentials`` are those it is sent with, ``server`` the sequencer's lasting name.

        Hashes the media in it, which takes a moment for large ones. Raises InvalidParameterError when the task's
        details are not JSON, or an image in them cannot be read.
        """
        details = task.task_details
        workflow_id = task.workflow_id or None
        try:
            readable = _readable(details, credentials.api_key)
            identity = [server, credentials.consumer_id, task.task_type, workflow_id, readable]
            canonical = _json(identity, lambda stand_in: {"sha256": stand_in.sha256})
            stored = json.loads(_json(readable, lambda stand_in: stand_in.shown))
        except InvalidParameterError:  # An image cannot be had.
            raise
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidParameterError("task_details", details, "JSON values with texts as names") from error
        only_parameters = isinstance(stored, dict) and stored.keys() == {"parameters"}
        return cls(
            fingerprint=hashlib.sha256(canonical.encode()).hexdigest(),
            server=server,
            task_type=task.task_type,
            workflow_id=workflow_id,
            parameters=stored["parameters"] if only_parameters else stored,
        )


@dataclass(frozen=True)
class Entry:
    """A task as it was when the ledger was read.

    ``state`` is one of TaskStatus, or before the task has an id "creating", "doubtful" (sent, but no answer says
    whether it was accepted) or "refused". ``tries`` counts how often the create was started, each time under the same
    ``job_id``; above 1 it was sent again after an ambiguous failure or a crash. ``created``, ``submitted`` (the create
    was answered) and ``finished`` (seen final) are Unix seconds; the latencies are the server's, in seconds; ``ran`` is
    the seconds from submitted to finished, or None if no run watched the end. ``sha256``, ``extension`` (with its
    dot) and ``size`` (bytes) name the media file once it is stored. ``source`` is "node", "cli" or "library",
    ``place`` the part of it that asked, as JSON: for a node its ``node`` id, ``title`` and ``workflow`` id.
    """

    number: int
    job_id: str
    fingerprint: str
    server: str
    task_type: str
    workflow_id: str | None
    parameters: Any
    source: str
    state: str
    tries: int
    created: float
    owner: str | None = None
    task_id: str | None = None
    submitted: float | None = None
    finished: float | None = None
    ran: float | None = None
    inference_latency: float | None = None
    upload_latency: float | None = None
    message: str | None = None
    result: Any = None
    media_url: str | None = None
    sha256: str | None = None
    extension: str | None = None
    size: int | None = None
    place: Any = None

    @property
    def is_final(self) -> bool:
        """Whether the state will not change any more."""
        unconfirmed = self.state == TaskStatus.CANCELED and self.finished is None
        return self.state in FINAL_STATES and not unconfirmed

    def as_result(self) -> WorkflowTaskResult:
        """The server's last answer, as far as it was kept. Raises ValueError for a task without an id."""
        if self.task_id is None:
            raise ValueError("the task has no id yet")
        return WorkflowTaskResult(
            task_id=self.task_id,
            status=TaskStatus(self.state),
            result=self.result,
            task_type=self.task_type,
            create_timestamp=self.submitted,
            inference_latency=self.inference_latency,
            upload_latency=self.upload_latency,
            workflow_id=self.workflow_id,
            msg=self.message,
            media_url=self.media_url,
        )

    @classmethod
    def new(cls, intent: Intent, job_id: str, source: str, now: float, place: Any = None) -> Entry:
        """The entry of an intent before its create."""
        return cls(
            number=0,
            job_id=job_id,
            fingerprint=intent.fingerprint,
            server=intent.server,
            task_type=intent.task_type,
            workflow_id=intent.workflow_id,
            parameters=intent.parameters,
            source=source,
            state=CREATING,
            tries=0,
            created=now,
            place=place,
        )

    def with_answer(self, result: WorkflowTaskResult) -> Entry:
        """The entry updated by an answer; what the answer leaves out stays."""
        said = {
            "state": str(result.status),
            "message": storable(result.message),
            "inference_latency": result.inference_latency,
            "upload_latency": result.upload_latency,
            "result": result.result,
            "media_url": storable(result.media_url),
        }
        return replace(self, **{name: value for name, value in said.items() if value is not None})

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Entry:
        """Read a row of the table ``tasks``."""
        return cls(**{name: _read(row[name]) if name in _JSON else row[name] for name in COLUMNS})

    def row(self) -> dict[str, Any]:
        """The values for a row, without ``number``, which the database assigns."""
        values = {name: getattr(self, name) for name in COLUMNS if name != "number"}
        return {name: _written(value) if name in _JSON else value for name, value in values.items()}


COLUMNS = tuple(field.name for field in fields(Entry))
_JSON = ("parameters", "result", "place")


def storable(text: Any) -> Any:
    """The text without lone surrogates, which a server may send but SQLite cannot store."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


def _written(value: Any) -> str:
    return json.dumps(value, default=repr)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # This program did not write it; the rest of the entry is still useful.
        return text


def find(db: sqlite3.Connection, task_id: str, server: str | None) -> Entry | None:
    """The newest entry with a task id, of one server or, with None, of any."""
    if server is None:
        return one(db, "task_id = ?", storable(task_id))
    return one(db, "task_id = ? AND server = ?", storable(task_id), server)


def one(db: sqlite3.Connection, where: str, *values: Any) -> Entry | None:
    """The newest entry that meets a condition. ``where`` is SQL, so it never comes from outside."""
    query = f"SELECT * FROM tasks WHERE {where} ORDER BY number DESC LIMIT 1"  # noqa: S608 - see above
    row = db.execute(query, values).fetchone()
    return None if row is None else Entry.from_row(row)


def insert(db: sqlite3.Connection, entry: Entry) -> None:
    """Add an entry."""
    row = entry.row()
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    db.execute(f"INSERT INTO tasks ({names}) VALUES ({places})", row)  # noqa: S608 - names of columns


def update(db: sqlite3.Connection, entry: Entry) -> None:
    """Replace the entry that has the same job id."""
    row = entry.row()
    changes = ", ".join(f"{name} = :{name}" for name in row if name != "job_id")
    db.execute(f"UPDATE tasks SET {changes} WHERE job_id = :job_id", row)  # noqa: S608 - names of columns


@dataclass(frozen=True)
class _StandIn:
    """Replaces a text that is too large or too private to be kept."""

    sha256: str
    shown: dict[str, Any]


def _json(value: Any, stand_in: Callable[[_StandIn], dict[str, Any]]) -> str:
    return json.dumps(value, default=stand_in, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _readable(value: Any, secret: str) -> Any:
    """Copy JSON values, with stand-ins for what must not be kept."""
    match value:
        case str():
            return _readable_text(value, secret)
        case InputImage():
            sha256 = value.sha256()
            return _StandIn(sha256, {"sha256": sha256, "media_type": value.media_type})
        case dict():
            return {_name(name, secret): _readable(each, secret) for name, each in value.items()}
        case list() | tuple():
            return [_readable(each, secret) for each in value]
        case float() if value.is_integer():
            return int(value)  # 4.0 and 4 are one number in JSON.
        case None | bool() | int() | float():
            return value
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _name(name: Any, secret: str) -> str:
    if not isinstance(name, str):
        raise TypeError("a name is not a string")
    return redact(name, secret)


def _readable_text(text: str, secret: str) -> Any:
    if is_data_uri(text):
        media_type, content = _decoded(text)
        sha256 = hashlib.sha256(content).hexdigest()
        return _StandIn(sha256, {"sha256": sha256, "bytes": len(content), "media_type": media_type})
    text = redact(unsigned(text), secret)
    if len(text) > LONGEST_TEXT:
        sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return _StandIn(sha256, {"sha256": sha256, "characters": len(text)})
    return text


def _decoded(uri: str) -> tuple[str, bytes]:
    """The media type and bytes of a ``data:`` URI. If it cannot be decoded, its own text counts as the bytes."""
    try:
        media_type, content = decode_data_uri(uri)
    except ValueError:
        media_type, content = "", uri.encode("utf-8", "surrogatepass")
    # Only a plain type is kept: the head is the user's text and may be anything.
    return media_type if len(media_type) <= 100 else "", content
