"""What ComfyUI's websocket reports about a running prompt."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..protocol.miner import LARGEST_PREVIEW

_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_SIDES = (512, 320, 192, 96)
_LONGEST_ID = 200
_MOST_PIXELS = 2**24
"""Of a preview: a small file may be a picture that takes gigabytes."""

_END_EVENTS = ("execution_success", "execution_error", "execution_interrupted")


@dataclass
class Progress:
    """How far a prompt is, as far as ComfyUI has reported it.

    Attributes:
        value: How many steps of the running node are done.
        maximum: How many steps it has; 0 before anything is known.
        node: Its id.
        preview: The latest preview as ComfyUI sent it, JPEG or PNG; empty when it was sent on already.
        ended: ComfyUI reported that the prompt ended. Its history may not have it yet.
    """

    value: float = 0
    maximum: float = 0
    node: str = ""
    preview: bytes = b""
    ended: bool = False

    def read_text(self, text: str, prompt_id: str) -> bool:
        """Read a message. Returns whether it was about this prompt."""
        try:
            message = json.loads(text)
            event, data = message["type"], message["data"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        if not isinstance(data, dict) or data.get("prompt_id") != prompt_id:
            return False
        if event in _END_EVENTS or (event == "executing" and data.get("node") is None):
            self.ended = True
        elif event == "executing":
            self._set(data.get("display_node") or data["node"], 0, 0)
        elif event == "progress":
            self._set(data.get("node"), data.get("value"), data.get("max"))
        elif event == "progress_state":
            self._read_states(data.get("nodes"))
        return True

    def read_bytes(self, message: bytes) -> bool:
        """Read a binary message. Returns whether it was a preview."""
        if len(message) < 8:
            return False
        message_type, second = struct.unpack(">II", message[:8])
        if message_type == _PREVIEW:
            self.preview = message[8:]
        elif message_type == _PREVIEW_WITH_METADATA and 8 + second <= len(message):
            self.preview = message[8 + second :]
        else:
            return False
        return True

    def _read_states(self, nodes: Any) -> None:
        for node in nodes.values() if isinstance(nodes, dict) else ():
            if isinstance(node, dict) and node.get("state") == "running":  # The last of them counts.
                self._set(node.get("display_node_id") or node.get("node_id"), node.get("value"), node.get("max"))

    def _set(self, node: Any, value: Any, maximum: Any) -> None:
        self.node = node[:_LONGEST_ID] if isinstance(node, str) else ""
        self.value, self.maximum = _number(value), _number(maximum)

    def to_json(self, titles: Mapping[str, str]) -> dict[str, Any]:
        """For a heartbeat, without the preview. ``titles`` are the nodes' by id."""
        node = self.node.split(".")[0].split(":")[0]
        return {
            "value": self.value,
            "maximum": self.maximum,
            "node": self.node,
            "title": titles.get(self.node) or titles.get(node) or "",
        }


def small_jpeg(content: bytes) -> str | None:
    """A preview as a data URI of a JPEG of at most ``LARGEST_PREVIEW``; None when it is no picture."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                return None
            if picture.format != "JPEG" or len(content) > LARGEST_PREVIEW:
                content = _shrunk(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"


def _shrunk(picture: Image.Image) -> bytes:
    whole = picture.convert("RGB")
    content = b""
    for side in _SIDES:
        whole.thumbnail((side, side))
        target = io.BytesIO()
        whole.save(target, "JPEG", quality=80)
        content = target.getvalue()
        if len(content) <= LARGEST_PREVIEW:
            break
    return content


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        return 0
    return value
