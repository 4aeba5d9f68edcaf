"""The answer to a request that is not served."""

from __future__ import annotations


class HTTPError(Exception):
    """Answer with this status and ``{"message": ...}``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
