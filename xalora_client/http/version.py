"""The version, in one place that everything may import."""

__version__ = "0.1.0"
USER_AGENT = f"xalora-client/{__version__}"
