"""Copies of a sequencer's database: a backup of one that may be in use, and what can be read of a damaged one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigurationError, StorageError
from ..storage import salvage, sqlite_file
from .database_file import copy_to
from .folder_lock import FolderLock, unusable
from .schema import NAME, OWN_TABLES, STEPS, check_file

_FILE = "sequencer.sqlite3"
_INDEXES = {
    "sqlite_autoindex_tasks_1": "ORDER BY task_id",
    "sqlite_autoindex_tasks_2": "ORDER BY owner",
    "tasks_open": "WHERE status IN ('waiting', 'running') ORDER BY status",
    "tasks_ended": "WHERE ended IS NOT NULL ORDER BY ended",
    "tasks_media": "WHERE media IS NOT NULL ORDER BY media",
}
"""How to read each index of the tasks. Each is on pages of its own."""


@dataclass
class Recovery:
    """What a recovery found.

    ``fault`` is what is wrong with the damaged file, ``kept`` where it is now. ``recovered`` is how many rows of each
    table are in the new one. ``lost`` has the ids of tasks that only an index still names.
    """

    fault: str = ""
    kept: Path | None = None
    recovered: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def backup(data: Path, to: Path) -> None:
    """Copy the database of a data folder, which may be in use, into a new file that only its owner reads.

    Raises ConfigurationError when there is nothing to copy or the new file exists, and StorageError.
    """
    path = data / _FILE
    if not path.is_file():
        raise ConfigurationError(f"There is no {path}", advice="Name the sequencer's data folder with --data.")
    try:
        with closing(sqlite_file.open_to_read(path)) as db, sqlite_file.damage_in_schema():
            check_file(db)
            copy_to(db, to)
    except FileExistsError:
        raise ConfigurationError(f"{to} is there already", advice="Choose another name.") from None
    except OSError as error:
        raise StorageError(f"The backup {to} cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise unusable(data, error, "sequencer") from error


def recover(data: Path) -> Recovery | None:
    """Save what can be read of a damaged database into a new one; None if it is not damaged.

    The damaged one gets another name. Raises FolderInUseError while a sequencer runs, ConfigurationError when there is
    none, and StorageError; the damaged file is then where it was.
    """
    path = data / _FILE
    if not path.is_file() and not sqlite_file.aside(path).exists():
        raise ConfigurationError(f"There is no {path}", advice="Name the sequencer's data folder with --data.")
    with closing(FolderLock(data, "sequencer")):
        try:
            with sqlite_file.alone(path):
                return _recover(path)
        except (OSError, sqlite3.Error) as error:
            raise unusable(data, error, "sequencer") from error


def _recover(path: Path) -> Recovery | None:
    found = Recovery()
    replaced = salvage.replace_damaged(path, STEPS, NAME, _check, lambda damaged, db: _salvage(damaged, db, found))
    if replaced is None:
        return None
    found.fault, found.kept = replaced
    return found


def _check(path: Path) -> None:
    with closing(sqlite_file.open_to_read(path)) as db, sqlite_file.damage_in_schema():
        check_file(db)


def _salvage(damaged: Path, db: sqlite3.Connection, found: Recovery) -> None:
    copy = damaged.with_name(f"{damaged.name}.copy")
    try:
        salvage.copy(damaged, copy, db)
        db.execute("BEGIN")
        with closing(salvage.opened(copy)) as old:
            if salt := next(salvage.rows(old, "SELECT value FROM salt"), None):
                db.execute("UPDATE salt SET value = ?", tuple(salt))
                found.recovered["salt"] = 1
            for (moment,) in salvage.rows(old, "SELECT value FROM steady_time"):
                db.execute("UPDATE steady_time SET value = ?", (moment,))
            for table in sorted(OWN_TABLES - {"salt", "tasks"}):
                query = f"SELECT * FROM {table}"  # noqa: S608 - no values in it
                found.recovered[table] = sum(_add(db, table, row) for row in _both_ways(old, query))
            ids = _task_ids(old)
            numbers = {*ids, *(number for (number,) in _both_ways(old, "SELECT rowid FROM tasks NOT INDEXED"))}
            for number in sorted(numbers):
                for row in salvage.rows(old, "SELECT rowid, * FROM tasks NOT INDEXED WHERE rowid = ?", number):
                    _add(db, "tasks", row)
            (root,) = next(salvage.rows(old, "SELECT rootpage FROM sqlite_master WHERE name = 'tasks'"), (None,))
        missing = numbers - {number for (number,) in db.execute("SELECT rowid FROM tasks")}
        if missing and root is not None:
            for row in salvage.on_any_page(copy, root, "SELECT rowid, * FROM tasks NOT INDEXED"):
                if row["rowid"] in missing and ids.get(row["rowid"], row["task_id"]) == row["task_id"]:
                    _add(db, "tasks", row)
        kept = {number for (number,) in db.execute("SELECT rowid FROM tasks")}
        found.recovered["tasks"] = len(kept)
        found.lost = [ids.get(number) or f"number {number}" for number in sorted(numbers - kept)]
        db.execute("COMMIT")
    finally:
        copy.unlink(missing_ok=True)


def _both_ways(db: sqlite3.Connection, query: str) -> Iterator[sqlite3.Row]:
    """The rows from both ends of a table, up to the damage in between; some come twice."""
    order = "rowid" if "rowid" in query else "1"
    for direction in ("ASC", "DESC"):
        yield from salvage.rows(db, f"{query} ORDER BY {order} {direction}")


def _task_ids(db: sqlite3.Connection) -> dict[int, str | None]:
    """The number of each task that any index names, and its id where that is known."""
    ids: dict[int, str | None] = {}
    for index, order in _INDEXES.items():
        column = "task_id" if "task_id" in order else "NULL"
        for direction in ("ASC", "DESC"):
            query = f"SELECT rowid, {column} FROM tasks INDEXED BY {index} {order} {direction}"  # noqa: S608
            for number, task_id in salvage.rows(db, query):
                ids[number] = ids.get(number) or task_id
    return ids


def _add(db: sqlite3.Connection, table: str, row: sqlite3.Row) -> int:
    """Add a row of an older or the same version, unless it cannot be right. Returns how many were added."""
    names, marks = ", ".join(row.keys()), ", ".join("?" * len(row))
    insert = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - no values in it
    return db.execute(insert, tuple(row)).rowcount
