"""Images that clients uploaded for their tasks: kept for each owner, for a day after the last use."""

from __future__ import annotations

import re
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .own_addresses import image_token_in
from .work import derived

KEPT_SECONDS = 86_400.0
BUDGET = 10 * 2**30
"""Bytes of all uploaded images; the least recently used go first."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Image:
    """An uploaded image, or one that is announced."""

    token: str
    sha256: str
    size: int
    content_type: str
    complete: bool

    @property
    def upload_token(self) -> str:
        """The last part of the address for its upload."""
        return derived(self.token, "image upload")


class Images:
    """The table of images. Their bytes are in ``folder``, named by their hash."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self.folder = folder
        self._db = db
        # Not stored, because each follows from its image's token.
        self._uploads = {
            derived(token, "image upload"): token
            for (token,) in db.execute("SELECT token FROM images WHERE NOT complete")
        }

    def announce(self, owner: bytes, sha256: str, size: int, content_type: str, now: float) -> Image:
        """The owner's image with this content, new or old."""
        self._db.execute(
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, 0, ?)"
            " ON CONFLICT (owner, sha256) DO UPDATE SET used = excluded.used",
            (secrets.token_urlsafe(32), owner, sha256, size, content_type, now),
        )
        row = self._db.execute("SELECT * FROM images WHERE owner = ? AND sha256 = ?", (owner, sha256)).fetchone()
        image = _image(row)
        if image.complete and not (self.folder / sha256).is_file():
            self._db.execute("UPDATE images SET complete = 0 WHERE token = ?", (image.token,))
            image = Image(image.token, sha256, size, content_type, False)
        if not image.complete:
            self._uploads[image.upload_token] = image.token
        return image

    def to_upload(self, upload_token: str) -> Image | None:
        """The image that is uploaded with this token."""
        token = self._uploads.get(upload_token)
        row = self._db.execute("SELECT * FROM images WHERE token = ?", (token,)).fetchone()
        return None if row is None else _image(row)

    def complete(self, image: Image, now: float) -> None:
        """Its bytes are here."""
        self._db.execute("UPDATE images SET complete = 1, used = ? WHERE token = ?", (now, image.token))

    def use(self, address: str, owner: bytes, now: float) -> Image | None:
        """The owner's image at an address of this server; None if it is none, or not here."""
        token = image_token_in(address)
        row = self._db.execute(
            "SELECT * FROM images WHERE token = ? AND owner = ? AND complete", (token, owner)
        ).fetchone()
        if row is None or not (self.folder / row["sha256"]).is_file():
            return None
        self._db.execute("UPDATE images SET used = ? WHERE token = ?", (now, token))
        return _image(row)

    def prune(self, now: float) -> None:
        """Forget those that were not used for a day, and the least recently used above the budget."""
        self._db.execute("DELETE FROM images WHERE used < ?", (now - KEPT_SECONDS,))
        (total,) = self._db.execute("SELECT coalesce(sum(size), 0) FROM images WHERE complete").fetchone()
        if total > BUDGET:
            rows = self._db.execute("SELECT token, size FROM images WHERE complete ORDER BY used").fetchall()
            for token, size in rows:
                if total <= BUDGET:
                    break
                self._db.execute("DELETE FROM images WHERE token = ?", (token,))
                total -= size
        left = {token for (token,) in self._db.execute("SELECT token FROM images WHERE NOT complete")}
        self._uploads = {upload: token for upload, token in self._uploads.items() if token in left}

    def files(self) -> set[str]:
        """The names of the files that are needed."""
        return {sha256 for (sha256,) in self._db.execute("SELECT DISTINCT sha256 FROM images WHERE complete")}


def is_sha256(text: object) -> bool:
    """Whether this is a SHA-256 as 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and _SHA256.fullmatch(text) is not None


def _image(row: Any) -> Image:
    return Image(row["token"], row["sha256"], row["size"], row["content_type"], bool(row["complete"]))
