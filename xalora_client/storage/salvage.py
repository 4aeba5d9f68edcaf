"""What can be read of a damaged SQLite file."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from .sqlite_file import PATIENCE, Steps, aside, build, free_name, is_damage, rename


def replace_damaged(
    path: Path,
    steps: Steps,
    name: str,
    check: Callable[[Path], object],
    fill: Callable[[Path, sqlite3.Connection], object],
) -> tuple[str, Path] | None:
    """Put a new file in the place of a damaged one; None if it is not damaged.

    Whoever stopped it halfway calls it again. If it fails, the damaged file is where it was.

    Args:
        path: The file.
        steps: Those of its schema.
        name: What it is called in messages.
        check: ``check(path)`` raises sqlite3.Error for a damaged file.
        fill: ``fill(damaged, new)`` copies what can be read.

    Returns:
        What is wrong with the damaged file, and where it is now.
    """
    damaged, fault = aside(path), "a repair of it was interrupted"
    if path.exists():
        if damaged.exists():  # The last one stopped just before its end.
            rename(damaged, free_name(path, "damaged"))
        try:
            check(path)
            return None
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            fault = str(error)
    rename(path, damaged)
    try:
        build(path, steps, name, lambda db: fill(damaged, db))
    except BaseException:  # Mostly a full disk.
        rename(damaged, path)
        raise
    kept = free_name(path, "damaged")
    rename(damaged, kept)
    return fault, kept


def copy(damaged: Path, to: Path, fresh: sqlite3.Connection) -> None:
    """Copy a file with a table of tasks. Its first page, if it cannot be used, is replaced by that of ``fresh``.

    Raises OSError and sqlite3.Error.
    """
    with closing(sqlite3.connect(damaged, timeout=PATIENCE, isolation_level=None)) as db:
        with suppress(sqlite3.DatabaseError, UnicodeDecodeError):  # With a damaged log, others cannot write either.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("BEGIN IMMEDIATE")
        to.touch(mode=0o600)  # Prompts are private.
        shutil.copyfile(damaged, to)
    with to.open("r+b") as file:
        file.seek(28)
        file.write(bytes(4))  # No page count: SQLite then uses the file's size.
    try:
        with closing(opened(to)) as old:
            old.execute("SELECT 1 FROM tasks LIMIT 1").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = fresh.execute("PRAGMA page_size").fetchone()
        page = Path(fresh.execute("PRAGMA database_list").fetchone()[2]).read_bytes()[:size]
        with to.open("r+b") as file:
            file.write(page[:28] + bytes(4) + page[32:])


def opened(copy: Path) -> sqlite3.Connection:
    """Open a copy to read it; text that is not UTF-8 is read as far as it goes."""
    db = sqlite3.connect(f"{copy.absolute().as_uri()}?immutable=1", uri=True)
    db.row_factory = sqlite3.Row
    db.text_factory = lambda content: content.decode("utf-8", "replace")
    return db


def rows(db: sqlite3.Connection, query: str, *values: Any) -> Iterator[sqlite3.Row]:
    """The rows up to the first that cannot be read."""
    with suppress(sqlite3.DatabaseError):
        yield from db.execute(query, values)


def on_any_page(copy: Path, root: int, query: str) -> Iterator[sqlite3.Row]:
    """The rows of a table on all pages, also on those that no other page leads to. The copy is changed.

    The pages with rows are put one by one on the page where the table begins, ``root``. Rows of other tables come too.
    """
    with closing(opened(copy)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with copy.open("r+b") as file:
        for offset in range(size, copy.stat().st_size, size):
            file.seek(offset)
            page = file.read(size)
            if page[0] == 13:  # A leaf of a table.
                file.seek((root - 1) * size)
                file.write(page)
                file.flush()
                with closing(opened(copy)) as db:
                    yield from rows(db, query)
