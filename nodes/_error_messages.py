"""How a node's errors are shown: in the node's last line, in ComfyUI's own message, and to the editor's extension."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from ..xalora_client import XaloraError
from . import _host, _host_server
from ._host_progress import Progress

E = TypeVar("E", bound=XaloraError)

EVENT = "xalora.error"
"""The message to the editor: which node failed, and what would help. The editor's extension offers it."""


def advice(error: XaloraError) -> str:
    """What a user of ComfyUI can do next: there is no command line, and settings are in a dialog."""
    return error.advice_for("nodes")


def text(error: XaloraError) -> str:
    """The whole message for a user of ComfyUI."""
    return error.text("nodes")


def for_comfyui(error: E) -> E:
    """The error to raise to ComfyUI, which shows ``str()`` of it."""
    return error.derived(advice=advice(error)).with_traceback(error.__traceback__)


def wrap_errors(node: Any) -> None:
    """Have the node's last line say what went wrong, whatever part of its run raises it."""
    run = getattr(node, node.FUNCTION)

    @functools.wraps(run)
    async def wrapped(self: Any, *args: Any, **values: Any) -> Any:
        progress = Progress()
        try:
            return await run(self, *args, **values)
        except XaloraError as error:
            progress.text(error.what.rstrip("."), last=True)
            # What ComfyUI tells the editor of an error is only its text.
            message = {
                "node": progress.node_id,
                "remedy": error.remedy,
                "task_id": error.task_id,
                "message": text(error),
                "reuse": values.get("reuse", True),
            }
            _host_server.send_to_client(EVENT, message)
            raise for_comfyui(error) from error.__cause__
        except _host.Interrupted:  # In ComfyUI an Exception. What became of the tasks has been said.
            raise
        except Exception:
            progress.text("stopped by an error, see the message", last=True)
            raise

    setattr(node, node.FUNCTION, wrapped)
