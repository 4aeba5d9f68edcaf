"""The settings as the editor shows and changes them. The key goes in and never comes out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..xalora_client import InvalidParameterError
from . import _error_messages, _host

if TYPE_CHECKING:
    from ..xalora_client import Setting

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
        "image_delivery": _told(settings.image_delivery, "value"),
        "bucket": _told(settings.bucket, "value"),
        "media_budget": _told(settings.media_budget, "gigabytes"),
        "problem": settings.problem and _error_messages.text(settings.problem),
    }


def change(wanted: dict[str, Any]) -> dict[str, Any]:
    """Store settings; returns all as they are then. Raises ConfigurationError when one cannot be stored."""
    from ..xalora_client import change_settings

    for name, value in wanted.items():
        if not isinstance(value, str) or len(value) > LONGEST:
            # Not repeated: it may be a key.
            raise InvalidParameterError(name, "…", f"a text of at most {LONGEST} characters")
    change_settings(_host.home(), **{name: value.strip() for name, value in wanted.items()})
    return show()


async def test() -> dict[str, Any]:
    """Try each part of the setup; nothing is charged. ``ok`` is False when something will not work."""
    from ..xalora_client import examine

    checks = await examine(fallback_home=_host.home())
    shown = [check.to_json("nodes") for check in checks]
    return {"ok": all(check.status != "problem" for check in checks), "checks": shown}


def _told(setting: Setting, name: str) -> dict[str, Any]:
    told = asdict(setting)
    return {name: told["value"], "source": told["source"], "editable": setting.editable}
