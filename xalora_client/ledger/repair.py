"""Repair a damaged ledger: what can be read is copied into a new one, and what cannot is named."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..storage import salvage, sqlite_file
from .task_record import COLUMNS, NAME, SELECT, STEPS, ledger_file, usable

_BY_JOB_ID, _BY_TASK_ID = "sqlite_autoindex_tasks_1", "tasks_by_task_id"
_INDEXES = {
    _BY_JOB_ID: ("job_id",),
    _BY_TASK_ID: ("task_id",),
    "tasks_by_fingerprint": ("fingerprint", "state"),
    "tasks_by_fingerprint_again": ("fingerprint",),
}
"""The columns of each index. Each index is on pages of its own, so it may be readable where the task is not."""

_Indexes = dict[str, dict[int, set[tuple[Any, ...]]]]


@dataclass
class Repair:
    """What a repair found.

    ``fault`` is what is wrong with the damaged file, ``kept`` where it is now. ``recovered`` tasks are in the new one.
    ``lost`` are those that only an index still names, as ``{"number", "task_id", "job_id"}`` with None for what is not
    known; ``unsure`` are among the recovered, but an index names other ids. ``untraced`` are ranges of numbers, first
    and last, of tasks that are lost without a trace or were forgotten before.
    """

    fault: str = ""
    kept: Path | None = None
    recovered: int = 0
    lost: list[dict[str, Any]] = field(default_factory=list)
    unsure: list[dict[str, Any]] = field(default_factory=list)
    untraced: list[tuple[int, int]] = field(default_factory=list)


def repair(home: Path) -> Repair | None:
    """Repair the ledger of a Xalora home; None if it is not damaged. Others wait meanwhile.

    After a crash halfway, others are refused until this has run again. Raises StorageError; the damaged file is then
    where it was.
    """
    path = home / "ledger.sqlite3"
    if not ledger_file(home).exists():
        return None
    try:
        with sqlite_file.alone(path):
            return _repair(path)
    except (OSError, sqlite3.Error) as error:
        raise sqlite_file.unusable(path, NAME, error) from error


def _repair(path: Path) -> Repair | None:
    found = Repair()
    replaced = salvage.replace_damaged(path, STEPS, NAME, _check, lambda damaged, db: _salvage(damaged, db, found))
    if replaced is None:
        return None
    found.fault, found.kept = replaced
    return found


def _salvage(damaged: Path, db: sqlite3.Connection, found: Repair) -> None:
    copy = damaged.with_name(f"{damaged.name}.copy")
    try:
        salvage.copy(damaged, copy, db)
        with closing(salvage.opened(copy)) as old:
            indexes, complete = _read_indexes(old)
            named = set().union(*indexes.values())
            numbers = named | {number for (number,) in salvage.rows(old, "SELECT number FROM tasks NOT INDEXED")}
            tasks = {
                number: row
                for number in numbers
                for row in salvage.rows(old, f"{SELECT} NOT INDEXED WHERE number = ?", number)
                # If one index contradicts the row, the index may be damaged; if two do, the row is.
                if len(_contradicting(row, indexes)) < 2
            }
        if not complete or named - tasks.keys():
            for row in salvage.on_any_page(copy, 2, f"{SELECT} NOT INDEXED"):
                # A row that no index has may be left from an earlier state.
                is_known = row["number"] in named or not complete
                if row["number"] not in tasks and is_known and not _contradicting(row, indexes):
                    tasks[row["number"]] = row
    finally:
        copy.unlink(missing_ok=True)
    insert = f"INSERT OR IGNORE INTO tasks ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
    db.execute("BEGIN")
    for number in sorted(tasks):
        if not db.execute(insert, tuple(tasks[number])).rowcount:
            del tasks[number]  # Its job id is that of another.
    db.execute("COMMIT")
    found.recovered = len(tasks)
    found.lost = [_ids_of(number, indexes) for number in sorted(named - tasks.keys())]
    found.unsure = [
        _ids_of(number, indexes)
        for number in sorted(tasks)
        if {_BY_JOB_ID, _BY_TASK_ID} & _contradicting(tasks[number], indexes)
    ]
    if not complete:
        known = sorted({0, *tasks, *named})
        found.untraced = [(one + 1, other - 1) for one, other in pairwise(known) if other - one > 1]


def _read_indexes(db: sqlite3.Connection) -> tuple[_Indexes, bool]:
    """What each index has for each number, and whether all of them can be read completely."""
    indexes: _Indexes = {}
    complete = True
    for index, columns in _INDEXES.items():
        entries = indexes[index] = defaultdict(set)
        query = f"SELECT number, {', '.join(columns)} FROM tasks INDEXED BY {index} ORDER BY {columns[0]}"  # noqa: S608
        for order in ("", " DESC"):  # From both ends, up to the damage in between.
            try:
                for number, *values in db.execute(query + order):
                    entries[number].add(tuple(values))
                break
            except sqlite3.DatabaseError:
                complete = False
    return indexes, complete


def _contradicting(row: sqlite3.Row, indexes: _Indexes) -> set[str]:
    """The indexes that contradict the row."""
    return {
        index
        for index, entries in indexes.items()
        if row["number"] in entries and tuple(row[name] for name in _INDEXES[index]) not in entries[row["number"]]
    }


def _ids_of(number: int, indexes: _Indexes) -> dict[str, Any]:
    task_ids, job_ids = (indexes[index].get(number, set()) for index in (_BY_TASK_ID, _BY_JOB_ID))
    return {"number": number, "task_id": next(iter(task_ids), (None,))[0], "job_id": next(iter(job_ids), (None,))[0]}


def _check(path: Path) -> None:
    """Raise sqlite3.Error for a damaged ledger."""
    with closing(sqlite_file.open_existing(path, STEPS, NAME)) as db:
        usable(db, "")
        for _ in db.execute(SELECT):  # Texts that are not UTF-8 are no fault to SQLite.
            pass
        (report,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if report != "ok":
            raise sqlite_file.DamageError(" ".join(str(report).split()))
