"""The tasks that this machine remembers, for programs: what the ledger and the media store show of themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .config import home_folder
from .ledger import Entry, Ledger, Listing
from .media.store import MediaStore


@dataclass(frozen=True)
class TaskRecord:
    """A task as it was when the ledger was read. Times are Unix seconds, or None for what has not happened yet.

    Attributes:
        number: Its place in the ledger: a newer task has a higher one.
        task_id: The sequencer's id, None before it gave one.
        job_id: The id under which the task was sent.
        state: A TaskStatus, or before there is an id "creating", "doubtful" (sent, but no answer says whether it was
            accepted) or "refused".
        is_final: Whether the state will not change any more.
        server: The sequencer's address, or "sandbox".
        task_type: The kind of task, such as "txt2vid".
        workflow_id: The server's workflow.
        parameters: JSON. Images and very long texts are replaced by their hashes.
        source: Who asked: "node", "cli" or "library".
        place: What part of it asked, as JSON.
        created: When the task was written to the ledger.
        submitted: When the sequencer accepted it.
        finished: When its end was seen.
        inference_latency: Seconds the miner worked.
        message: The server's message, in one line.
        media: The name of the stored result: its SHA-256 in hex and its extension. None before it is downloaded.
        media_bytes: Its size.
    """

    number: int
    task_id: str | None
    job_id: str
    state: str
    is_final: bool
    server: str
    task_type: str
    workflow_id: str | None
    parameters: object
    source: str
    place: object
    created: float
    submitted: float | None
    finished: float | None
    inference_latency: float | None
    message: str | None
    media: str | None
    media_bytes: int | None

    def to_json(self) -> dict[str, object]:
        """The record as a JSON object with the same names."""
        return dict(vars(self))


class TaskRecords:
    """The tasks of every server in one Xalora home, and their stored results. No server is asked.

    Reading waits for nobody who writes. Threads may share the object. Every method blocks for some milliseconds and
    raises StorageError when the ledger cannot be read or written.

    Args:
        home: As for the clients.

    Raises:
        ConfigurationError: ``.env``, where the home may be named, cannot be read.
    """

    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        self._home = home_folder(home)
        self._listing = Listing(self._home)
        self._store = MediaStore(self._home)

    def __enter__(self) -> TaskRecords:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the ledger. Another call opens it again."""
        self._listing.close()

    def tasks(
        self, limit: int = 100, *, before: int | None = None, state: str | None = None, text: str = ""
    ) -> tuple[list[TaskRecord], int]:
        """List tasks, newest first.

        Args:
            limit: The most tasks to return.
            before: The number of a record: only older ones are returned. For the next page.
            state: A record's state, or "open" for every one that is not final.
            text: What to look for in ids, kinds and parameters, without regard to the case of ASCII letters.

        Returns:
            The tasks, and how many there are in all with this state and text.
        """
        entries, total = self._listing.tasks(limit, before=before, state=state, text=text)
        return [_record(entry) for entry in entries], total

    def find(self, task_or_job_id: str) -> TaskRecord | None:
        """Find a task.

        Args:
            task_or_job_id: The task's id, or its job id while it has no other.

        Returns:
            The newest task with this id, or None.
        """
        entry = self._listing.find(task_or_job_id)
        return None if entry is None else _record(entry)

    def forget(self, task_or_job_id: str) -> list[TaskRecord]:
        """Remove a task from the ledger. The task itself continues and is charged, and its stored file stays.

        Args:
            task_or_job_id: The task's id or its job id.

        Returns:
            What was removed: empty when there is no such task.
        """
        with Ledger(self._home) as ledger:
            return [_record(entry) for entry in ledger.forget(task_or_job_id)]

    def usual_seconds(self, record: TaskRecord) -> float | None:
        """How long tasks of the same kind took at the same server.

        Args:
            record: A task of that kind.

        Returns:
            The median of the last 20, in seconds from submitted to finished. None when no end was watched.
        """
        return self._listing.usual_seconds(record.server, record.task_type, record.workflow_id)

    def media_path(self, record: TaskRecord) -> Path | None:
        """Where a task's result is stored. This is no use of the file: it may be removed at any time.

        Args:
            record: The task.

        Returns:
            The file, whose bytes are not checked. None when it is not on this machine.
        """
        return self._store.peek(*_hash_and_extension(record))

    def use_media(self, record: TaskRecord) -> Path | None:
        """Where a task's result is stored, to be used: it stays for an hour.

        The file is read and hashed first, which takes a moment for a large one.

        Args:
            record: The task.

        Returns:
            The file, whose bytes are as they were downloaded. None when it is not on this machine, or damaged.
        """
        return self._store.find(*_hash_and_extension(record))


def _record(entry: Entry) -> TaskRecord:
    return TaskRecord(
        number=entry.number,
        task_id=entry.task_id,
        job_id=entry.job_id,
        state=entry.state,
        is_final=entry.is_final,
        server=entry.server,
        task_type=entry.task_type,
        workflow_id=entry.workflow_id,
        parameters=entry.parameters,
        source=entry.source,
        place=entry.place,
        created=entry.created,
        submitted=entry.submitted,
        finished=entry.finished,
        inference_latency=entry.inference_latency,
        message=entry.message,
        media=None if entry.sha256 is None else f"{entry.sha256}{entry.extension or ''}",
        media_bytes=entry.size,
    )


def _hash_and_extension(record: TaskRecord) -> tuple[str, str]:
    sha256, dot, extension = (record.media or "").partition(".")
    return sha256, dot + extension
