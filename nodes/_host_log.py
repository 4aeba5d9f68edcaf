"""ComfyUI's log: our lines begin with "Xalora", and an error that is no bug is one line.

ComfyUI logs each exception of a node with its traceback. A filter of Python's logging sees these lines first, while the
exception is being handled. ComfyUI itself is not changed.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from ..xalora_client import XaloraError
from . import _host
from ._endings import fit, fitting

logger = logging.getLogger("xalora_client")


def _named(record: logging.LogRecord) -> bool:
    """Begin our own lines with our name, and have their advice fit ComfyUI."""
    if "xalora_client" in record.name and not str(record.msg).startswith("Xalora"):
        record.msg = f"Xalora: {fitting(str(record.msg))}"
    return True


def _shortened(record: logging.LogRecord) -> bool:
    """Leave one line of what ComfyUI's executor logs about an error of ours."""
    error = sys.exc_info()[1]
    if not isinstance(error, XaloraError) or record.levelno != logging.ERROR or record.module != "execution":
        return True
    if record.getMessage().startswith("Traceback"):
        return False
    record.msg, record.args = f"Xalora: {error}", ()
    return True


def introduce() -> None:
    """Set up the log, and have one line in it once ComfyUI's server starts: whether there is a key."""
    if not _host.IN_COMFYUI:
        return
    root = logging.getLogger()
    root.addFilter(_shortened)
    # Filters of a logger do not see what its children log; those of a handler see all.
    for handler in root.handlers:
        handler.addFilter(_named)
    _host.at_start(_announce)


async def _announce(_: object) -> None:
    await asyncio.to_thread(_say)


def _say() -> None:
    from ..xalora_client import read_settings  # Late, because it would slow down the import.

    try:
        settings = read_settings(_host.home())
    except XaloraError as error:
        fit(error)
        logger.warning("%s", error)
        return
    if settings.server.value == "sandbox":
        logger.info("sandbox")
    elif settings.consumer.value is None:
        logger.info("no key yet: Settings, Xalora")
    else:
        logger.info("ready, key of consumer %s", settings.consumer.value)
