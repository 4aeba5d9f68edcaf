"""The media store: files named by the hash of their content, within a budget."""

from .media_store import BUDGET, MediaStore, Pruned, budget_of

__all__ = ["BUDGET", "MediaStore", "Pruned", "budget_of"]
