"""How a node's run ends, said where the user looks: in the node, and with advice that fits ComfyUI."""

from __future__ import annotations

import functools
import re
from typing import Any

from ..xalora_client import XaloraError
from . import _host, _host_server
from ._host_progress import Progress

EVENT = "xalora.error"
"""The message to the editor: which node failed, and what would help. The editor's extension offers it."""

_PLACE = "Settings → Xalora"
_BUCKET_AGAIN = f"Remove the bucket in {_PLACE} and set it again; its credentials then come from the environment"
_FITTING = [
    (re.compile(pattern), words)
    for pattern, words in (
        (
            r"Set XALORA_API_KEY=consumer#key in the environment.*",
            f"Set your key in {_PLACE}; to try without an account, choose the sandbox there.",
        ),
        (r"Set XALORA_API_KEY and XALORA_WORKFLOW_URL in [^:]*", f"Set key and server together in {_PLACE}"),
        (r"into XALORA_API_KEY", f"into {_PLACE}"),
        (r"XALORA_API_KEY( \(consumer#key\))?", f"the key in {_PLACE}"),
        (r"XALORA_WORKFLOW_URL", f"the server in {_PLACE}"),
        (r"XALORA_BUCKET\b", f"the bucket in {_PLACE}"),
        (r", or run `xalora login --bucket`", ""),
        (r"Store them again with `xalora login --bucket`", _BUCKET_AGAIN),
        (r"`xalora doctor`", f"Test connection in {_PLACE}"),
        (r"run `xalora prune`", f"allow less space for results in {_PLACE}"),
        (
            r"`xalora prune --bucket` removes what earlier runs left, --home DIR ComfyUI's",
            "remove what earlier runs left",
        ),
        (r", or run `xalora tasks --forget [^`]+` and then the task", " for one run"),
        (r"run `xalora tasks --forget [^`]+` first", "turn reuse off for one run"),
        (r"; `xalora prune --bucket` removes it", ""),
        (
            r"`xalora repair --home [^`]+` has saved what can be read",
            'the command "xalora repair" has saved what can be read; then look at the Xalora tab',
        ),
        (r", or in Python allow more with Client\(limits=\.\.\.\)", ""),
    )
]


def fit(error: XaloraError) -> None:
    """Replace advice that a user of ComfyUI cannot follow: there is no command line, and settings are in a dialog."""
    error.advice = fitting(error.advice)


def fitting(advice: str) -> str:
    """The advice, as a user of ComfyUI can follow it."""
    for pattern, words in _FITTING:
        advice = pattern.sub(words, advice)
    return advice


def told(node: Any) -> None:
    """Have the node's last line say what went wrong, whatever part of its run raises it."""
    run = getattr(node, node.FUNCTION)

    @functools.wraps(run)
    async def telling(self: Any, *args: Any, **values: Any) -> Any:
        progress = Progress()
        try:
            return await run(self, *args, **values)
        except XaloraError as error:
            fit(error)
            progress.text(error.what.rstrip("."), last=True)
            # What ComfyUI tells the editor of an error is only its text.
            told = {
                "node": progress.node_id,
                "remedy": error.remedy,
                "task_id": error.task_id,
                "message": str(error),
                "reuse": values.get("reuse", True),
            }
            _host_server.send_to_client(EVENT, told)
            raise
        except _host.Interrupted:  # In ComfyUI an Exception. What became of the tasks has been said.
            raise
        except Exception:
            progress.text("stopped by an error, see the message", last=True)
            raise

    setattr(node, node.FUNCTION, telling)
