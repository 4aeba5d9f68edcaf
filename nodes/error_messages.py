"""How a node's errors are shown: in its last line, in ComfyUI's message and log, and to the editor's extension."""

from __future__ import annotations

import functools
import logging
from typing import Any

from ..xalora_client import XaloraError
from . import comfy
from .comfy.progress import Progress
from .comfy.prompt import Interrupted
from .status_lines import Part, verbatim

EVENT = "xalora.error"
"""The message to the editor: which node failed, and what would help. The editor's extension offers it."""


def wrap_errors(node: Any) -> None:
    """Have the node's last line say what went wrong, whatever part of its run raises it."""
    run = getattr(node, node.FUNCTION)

    @functools.wraps(run)
    async def wrapped(self: Any, *args: Any, **values: Any) -> Any:
        progress = Progress()
        try:
            return await run(self, *args, **values)
        except XaloraError as error:
            progress.text([verbatim(error.what.rstrip("."))], last=True)
            # ComfyUI itself sends the editor only the error's text, in which the advice must be for the editor.
            message = {
                "node": progress.node_id,
                "remedy": error.remedy,
                "task_id": error.task_id,
                "message": error.text("nodes"),
                "reuse": values.get("reuse", True),
            }
            comfy.send_to_client(EVENT, message)
            for_editor = error.derived(advice=error.advice_for("nodes"))
            raise for_editor.with_traceback(error.__traceback__) from error.__cause__
        except Interrupted:  # In ComfyUI an Exception. The last line already says what became of the tasks.
            raise
        except Exception:
            progress.text([Part("bug")], last=True)
            raise

    setattr(node, node.FUNCTION, wrapped)


def set_up_log() -> None:
    """In ComfyUI's log, have our lines begin with our name."""
    # Filters of a logger do not see what its children log; those of a handler see all.
    for handler in logging.getLogger().handlers if comfy.IN_COMFYUI else ():
        handler.addFilter(_edit_record)


def _edit_record(record: logging.LogRecord) -> bool:
    """Begin our own lines with our name, and give errors the advice for a user of ComfyUI."""
    if "xalora_client" in record.name and not str(record.msg).startswith("Xalora"):
        record.msg = f"Xalora: {record.msg}"
        if isinstance(record.args, tuple):
            record.args = tuple(arg.text("nodes") if isinstance(arg, XaloraError) else arg for arg in record.args)
    return True
