from typing import Any

class ProgressBar:
    def __init__(self, total: float, node_id: str | None = None) -> None: ...
    def update_absolute(
        self, value: float, total: float | None = None, preview: tuple[str, Any, int | None] | None = None
    ) -> None: ...
