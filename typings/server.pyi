from collections.abc import Callable
from typing import Any, ClassVar

class PromptServer:
    instance: ClassVar[PromptServer]
    routes: Any
    sockets: dict[str, Any]
    app: Any
    prompt_queue: Any
    user_manager: Any
    client_id: str | None

    def send_progress_text(self, text: str, node_id: str, sid: str | None = None) -> None: ...
    def add_on_prompt_handler(self, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None: ...
    def send_sync(self, event: str, data: dict[str, Any], sid: str | None = None) -> None: ...
