"""The bar, the text and the live preview in the node that runs. Without ComfyUI they are shown nowhere."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Sequence
from typing import Any

from ...xalora_client import StatusPart
from . import IN_COMFYUI, send_to_client
from .prompt import caller

if IN_COMFYUI:
    from comfy.utils import ProgressBar
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

EVENT = "xalora.status"
"""The message to the editor: the parts of a node's line. Its extension shows them in the editor's language."""

SECONDS_BETWEEN_MESSAGES = 0.25

PREVIEW_SIZE = 512
"""Pixels to which a live preview is reduced, as by ComfyUI's own samplers."""

LARGEST_PREVIEW = 2048
"""The most pixels of a live preview's side. A larger one is not shown."""


class Progress:
    """The progress bar and the text in the node that runs, at most a few messages per second."""

    def __init__(self) -> None:
        context = get_executing_context() if IN_COMFYUI else None
        self.node_id = context.node_id if context else None
        self.workflow = (caller() or {}).get("workflow")
        self.last_text = ""
        self.text_at = self.bar_at = -SECONDS_BETWEEN_MESSAGES

    def text(self, line: Sequence[StatusPart], *, last: bool = False) -> None:
        """Show a line. The ``last`` one stays, and is shown even right after another one.

        Only the editor whose prompt runs gets it: first its parts, then the text, which the editor itself shows.
        """
        now = time.monotonic()
        too_soon = now - self.text_at < SECONDS_BETWEEN_MESSAGES and not last
        text = without_markup(StatusPart.line(line))
        if self.node_id is None or text == self.last_text or too_soon:
            return
        self.last_text, self.text_at = text, now
        message = {"node": self.node_id, "workflow": self.workflow, "parts": [_message(part) for part in line]}
        send_to_client(EVENT, message)
        client = PromptServer.instance.client_id
        if client is not None:  # None for a program that does not listen. To ComfyUI, no client means all.
            PromptServer.instance.send_progress_text(text, self.node_id, sid=client)

    def bar(self, done: float, total: float, preview: bytes | None = None) -> None:
        """Fill the bar up to ``done`` of ``total``. May raise Interrupted, as ComfyUI's own bar does.

        ``preview`` is a JPEG or PNG file, shown in the node as local samplers show what they work on.
        """
        now = time.monotonic()
        too_soon = now - self.bar_at < SECONDS_BETWEEN_MESSAGES and preview is None
        if self.node_id is None or (0 < done < total and too_soon):
            return
        self.bar_at = now
        picture = None if preview is None else _picture(preview)
        preview_image = None if picture is None else ("JPEG", picture, PREVIEW_SIZE)
        ProgressBar(total, node_id=self.node_id).update_absolute(done, total, preview_image)


def _message(part: StatusPart) -> dict[str, Any]:
    """The part as JSON: its code, its values, and its English text."""
    return {"code": part.code, "values": _plain(part.values), "text": without_markup(str(part))}


def _plain(value: object) -> Any:
    if isinstance(value, StatusPart):
        return _message(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return without_markup(str(value))


def without_markup(text: str) -> str:
    """The text without what an editor takes for markup. Much of it comes from a server or a miner.

    The editor of ComfyUI 0.3.64 inserts it as HTML. Later ones show entities as they are, so "<" is replaced by a
    character that looks like it. They turn ``[[words|address]]`` into links, by way of marks like ``__LNK0__``.
    """
    return re.sub(r"\[(?=\[)|_(?=_LNK)", r"\g<0> ", text.replace("<", "‹"))


def _picture(preview: bytes) -> Any:
    """The preview as a PIL image, or None for one that cannot be read: it comes from the network."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(preview), formats=("JPEG", "PNG")) as image:
            return image.convert("RGB") if max(image.size) <= LARGEST_PREVIEW else None
    except Exception:  # noqa: BLE001 - whatever a decoder raises: a preview is not worth an error
        return None
