"""The tasks that this machine remembers, for programs: the ledger and the stored results."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ..config import home_folder
from ..config.settings import server_arguments
from ..errors import StorageError
from ..ledger import Ledger, Listing, TaskRecord
from ..media.store import MediaStore


class TaskRecords(Listing):
    """The tasks of every server in one Xalora home, and their stored results. No server is asked.

    Reading does not wait for writers. Threads may share the object. Every method blocks for some milliseconds and
    raises StorageError when the ledger cannot be read or written.

    Args:
        home: As for the clients.

    Raises:
        ConfigurationError: ``.env``, where the home may be named, cannot be read.
    """

    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        self._home = home_folder(home)
        super().__init__(self._home)
        self._store = MediaStore(self._home)

    def __enter__(self) -> TaskRecords:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def client_arguments(self, task_id: str, fallback_home: Path | None = None) -> tuple[str | None, str | None]:
        """Key and address for a client that is to ask about a task, at whichever server it is.

        Args:
            task_id: The task's id.
            fallback_home: As for the clients.

        Returns:
            Both None where the server in force is to be asked, as for a task that is not remembered.

        Raises:
            ConfigurationError: The settings cannot be read.
        """
        record = None
        with suppress(StorageError):
            record = self.find(task_id)
        return server_arguments(record.server, fallback_home) if record else (None, None)

    def forget(self, task_or_job_id: str) -> list[TaskRecord]:
        """Remove a task from the ledger. The task itself continues and is charged, and its stored file stays.

        Args:
            task_or_job_id: The task's id or its job id.

        Returns:
            What was removed: empty when there is no such task.
        """
        with Ledger(self._home) as ledger:
            return ledger.forget(task_or_job_id)

    def media_path(self, record: TaskRecord) -> Path | None:
        """Where a task's result is stored. This is no use of the file: it may be removed at any time.

        Args:
            record: The task.

        Returns:
            The file, whose bytes are not checked. None when it is not on this machine.
        """
        return self._store.peek(record.sha256 or "", record.extension or "")

    def use_media(self, record: TaskRecord) -> Path | None:
        """Where a task's result is stored, to be used: it stays for an hour.

        The file is read and hashed first, which takes a moment for a large one.

        Args:
            record: The task.

        Returns:
            The file, whose bytes are as they were downloaded. None when it is not on this machine, or damaged.
        """
        return self._store.find(record.sha256 or "", record.extension or "")

    def use_all_media(self, record: TaskRecord) -> list[Path]:
        """As ``use_media``, of a task with several results.

        Args:
            record: The task.

        Returns:
            The files of all results, in their order. Empty when one of them is not on this machine, or damaged.
        """
        numbers = range(1, 2 + len(record.more_media))
        found = [self._store.find(*(record.stored(number) or ("", ""))) for number in numbers]
        return [path for path in found if path is not None] if None not in found else []
