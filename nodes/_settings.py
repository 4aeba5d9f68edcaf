"""The settings as the editor shows and changes them. The key goes in and never comes out."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..xalora_client import BadRequestError, InvalidParameterError, NotFoundError, XaloraError
from . import _host

if TYPE_CHECKING:
    from ..xalora_client import Setting

_CHANGEABLE = {"api_key": "api_key", "workflow_url": "server"}
"""What a change may name, and what the SDK calls it."""

LONGEST = 2000


def home() -> Path:
    """The folder in use. Raises ConfigurationError when ``.env`` cannot be read."""
    from ..xalora_client import home_folder

    return home_folder(fallback_home=_host.home())


def show() -> dict[str, Any]:
    """The settings in force, where each comes from, and whether it can be changed here."""
    from ..xalora_client import read_settings

    settings = read_settings(_host.home())
    return {
        "key": {"set": settings.consumer.value is not None, "needed": settings.kind != "sandbox"}
        | _told(settings.consumer, "consumer"),
        "server": {"kind": settings.kind} | _told(settings.server, "url"),
        "home": _told(settings.home, "folder"),
        "problem": settings.problem,
    }


def change(wanted: dict[str, Any]) -> dict[str, Any]:
    """Store settings; returns all as they are then. Raises ConfigurationError when one cannot be stored."""
    from ..xalora_client import change_settings

    for name, value in wanted.items():
        if name not in _CHANGEABLE:
            raise InvalidParameterError("name", name, ", ".join(_CHANGEABLE))
        if not isinstance(value, str) or len(value) > LONGEST:
            # Not repeated: it may be a key.
            raise InvalidParameterError(name, "…", f"a text of at most {LONGEST} characters")
    change_settings(_host.home(), **{_CHANGEABLE[name]: value.strip() for name, value in wanted.items()})
    return show()


async def test() -> dict[str, Any]:
    """Ask the server about a task that does not exist: does it answer, and does it take the key?"""
    from ..xalora_client import AsyncClient

    def make() -> AsyncClient:
        return AsyncClient(fallback_home=_host.home())

    try:
        async with await asyncio.to_thread(make) as client:
            server = client.config.workflow_url
            with contextlib.suppress(NotFoundError, BadRequestError):
                await client.query_task_result("xalora-connection-test")
    except XaloraError as error:
        return {"ok": False, "text": error.what, "advice": error.advice}
    return {"ok": True, "text": f"{server} answers and does not refuse the key.", "advice": ""}


def _told(setting: Setting, name: str) -> dict[str, Any]:
    told = asdict(setting)
    return {name: told["value"], "source": told["source"], "editable": setting.editable}
