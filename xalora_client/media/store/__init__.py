"""Where media is kept, by the hash of its content and under a budget."""

from .media_store import BUDGET, MediaStore, Pruned

__all__ = ["BUDGET", "MediaStore", "Pruned"]
