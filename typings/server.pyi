from typing import Any, ClassVar

class PromptServer:
    instance: ClassVar[PromptServer]
    app: Any

    def send_progress_text(self, text: str, node_id: str, sid: str | None = None) -> None: ...
