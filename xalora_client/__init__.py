"""A client of Xalora's workflow API."""

__version__ = "0.1.0"
