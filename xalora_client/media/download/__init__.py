"""From a finished task to a complete, checked file in the media store."""

from __future__ import annotations

from .flow import MediaFile, download
from .receiver import DownloadProgress, OnProgress

__all__ = ["DownloadProgress", "MediaFile", "OnProgress", "download"]
