"""What is wrong with a setup: each part is tried, and what is found says what to do."""

from .check import Check
from .doctor import examine, worst

__all__ = ["Check", "examine", "worst"]
