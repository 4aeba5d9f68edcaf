"""ComfyUI's log: our lines begin with "Xalora", and one at the start says whether there is a key."""

from __future__ import annotations

import asyncio
import logging

from ..xalora_client import XaloraError
from . import _error_messages, _host

logger = logging.getLogger("xalora_client")


def _named(record: logging.LogRecord) -> bool:
    """Begin our own lines with our name, and say of errors what a user of ComfyUI can do."""
    if "xalora_client" in record.name and not str(record.msg).startswith("Xalora"):
        record.msg = f"Xalora: {record.msg}"
        if isinstance(record.args, tuple):
            record.args = tuple(
                _error_messages.text(each) if isinstance(each, XaloraError) else each for each in record.args
            )
    return True


def introduce() -> None:
    """Set up the log, and have one line in it once ComfyUI's server starts: whether there is a key."""
    if not _host.IN_COMFYUI:
        return
    # Filters of a logger do not see what its children log; those of a handler see all.
    for handler in logging.getLogger().handlers:
        handler.addFilter(_named)
    _host.at_start(_announce)


async def _announce(_: object) -> None:
    await asyncio.to_thread(_say)


def _say() -> None:
    from ..xalora_client import read_settings  # Late, because it would slow down the import.

    try:
        settings = read_settings(_host.home())
    except XaloraError as error:
        logger.warning("%s", _error_messages.text(error))
        return
    if settings.server.value == "sandbox":
        logger.info("sandbox")
    elif settings.consumer.value is None:
        logger.info("no key yet: Settings, Xalora")
    else:
        logger.info("ready, key of consumer %s", settings.consumer.value)
