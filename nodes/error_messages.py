"""How a node's errors are shown: in its last line, in ComfyUI's message and log, and to the editor's extension."""

from __future__ import annotations

import functools
import logging
import re
from typing import Any

from ..xalora_client import XaloraError
from . import comfy
from .comfy.progress import Progress
from .comfy.prompt import Interrupted
from .status_lines import Part

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
            shown = for_extension(error)
            progress.text([Part("error", words=error.plain.rstrip("."), error=shown)], last=True)
            # ComfyUI itself sends the editor only the error's text.
            facts = {"node": progress.node_id, "task_id": error.task_id, "reuse": values.get("reuse", True)}
            comfy.send_to_client(EVENT, facts | shown)
            raise _for_comfyui(error).with_traceback(error.__traceback__) from error.__cause__
        except Interrupted:  # In ComfyUI an Exception. The last line already says what became of the tasks.
            raise
        except Exception:
            progress.text([Part("bug")], last=True)
            raise

    setattr(node, node.FUNCTION, wrapped)


def for_extension(error: XaloraError) -> dict[str, Any]:
    """An error as the editor's extension gets it, to say it in the user's language and to offer what helps."""
    return {
        "type": type(error).__name__,
        "code": error.code,
        "params": {name: _of_others(str(value).rstrip(".")) for name, value in error.params.items()},
        "what": error.plain,
        "advice": error.advice_for("nodes"),
        "details": error.details,
        "untranslated": error.untranslated,
        "message": f"{error.plain.rstrip('.')}. {error.advice_for('nodes')}".rstrip(),
        "remedy": error.remedy,
    }


_COMFYUIS_OWN = re.compile(
    "(cuda|gpu) out of memory|out of memory on your gpu|insufficient memory|allocation on device"
    "|please (login|add credits)|field 'prompt' cannot|rejected by|safety checks|content policy violation",
    re.IGNORECASE,
)
"""Words by which editors recognize what is wrong with this machine, or with this user's account at comfy.org."""


def _for_comfyui(error: XaloraError) -> XaloraError:
    """The error with the text that ComfyUI shows."""
    return error.derived(what=_of_others(error.text("nodes")), advice="")


def _of_others(text: str) -> str:
    """The text, written so that no editor takes what happened on a remote machine for something of this one."""
    return _COMFYUIS_OWN.sub(lambda found: found[0].replace(" ", "-"), text)


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
