"""The routes under /xalora, which the editor's extension in ``web/`` uses."""
