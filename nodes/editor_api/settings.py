"""The settings as the editor shows and changes them. The key goes in and never comes out."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from ... import xalora_client
from ...xalora_client import InvalidParameterError, XaloraError
from ...xalora_client.config import Setting, home_folder
from ...xalora_client.config.settings import change_settings, read_settings
from .. import comfy
from ..error_messages import for_extension

logger = logging.getLogger("xalora_client")

LONGEST = 2000


def home() -> Path:
    """The folder in use. Raises ConfigurationError when ``.env`` cannot be read."""
    return home_folder(fallback_home=comfy.home())


async def show() -> dict[str, Any]:
    """The settings in force, where each comes from, and whether it can be changed here."""
    settings = read_settings(comfy.home())
    has_key = settings.consumer.value is not None
    return {
        # A sequencer of one's own may need none: that is known once it is asked.
        "key": {"set": has_key, "needed": settings.kind == "network" or (settings.kind == "own" and has_key)}
        | _to_json(settings.consumer, "consumer"),
        "server": {"kind": settings.kind} | _to_json(settings.server, "url"),
        "servers": [
            {"kind": settings.kind_of(url), "url": url, "consumer": consumer}
            for url, consumer in settings.servers.items()
        ],
        "home": _to_json(settings.home, "folder"),
        "image_delivery": _to_json(settings.image_delivery, "value"),
        "bucket": _to_json(settings.bucket, "value"),
        "media_budget": _to_json(settings.media_budget, "gigabytes"),
        "problem": settings.problem and settings.problem.text("nodes"),
    }


async def change(changes: dict[str, Any]) -> dict[str, Any]:
    """Store settings; returns all as they are then. Raises ConfigurationError when one cannot be stored.

    Only that a server is ComfyUI itself is looked at before; whether it can be reached is for ``test``.
    """
    for name, value in changes.items():
        if not isinstance(value, str) or len(value) > LONGEST:
            # The value is not repeated: it may be a key.
            raise InvalidParameterError(name, "…", f"a text of at most {LONGEST} characters")
    changes = {name: value.strip() for name, value in changes.items()}
    if changes.get("workflow_url"):
        from ...xalora_client.client.doctor import refuse_comfyui  # As in ``test``.

        await refuse_comfyui(changes["workflow_url"])
    change_settings(comfy.home(), **changes)
    return await show()


async def test() -> dict[str, Any]:
    """Try each part of the setup; nothing is charged.

    ``ok`` is False when something will not work; ``problem`` is the first of that, in words, and ``error`` has its
    parts, where it is an error. ``connected`` says to which kind of server, and how many machines and workflows it
    has, where it tells.
    """
    from ...xalora_client.client.doctor import examine  # With HTTP libraries, which would slow down ComfyUI's start.

    checks = await examine(fallback_home=comfy.home())
    bad = next((check for check in checks if check.status == "problem"), None)
    counts = {name: count for check in checks for name, count in check.counts.items()}
    answer = {
        "ok": bad is None,
        "problem": bad and f"{bad.text.rstrip('.')}. {bad.advice_for('nodes')}".strip(),
        "connected": None if bad else {"kind": read_settings(comfy.home()).kind, **counts},
        "checks": [check.to_json("nodes") for check in checks],
    }
    return answer | ({"error": for_extension(bad.error)} if bad and bad.error else {})


async def workflows() -> list[dict[str, Any]]:
    """What the miners of the server in force run now, with what it usually uses; empty where it does not tell.

    Only a sequencer of one's own is asked: the network does not tell, and a sandbox only makes previews.
    """
    found: list[xalora_client.AvailableWorkflow] = []
    with suppress(XaloraError):  # A run says what is wrong.
        if read_settings(comfy.home()).kind == "own":
            options = xalora_client.AdvancedOptions(fallback_home=comfy.home())
            async with xalora_client.AsyncClient(advanced=options) as client:
                found = await client.workflows() or []
    return [
        each.to_json() | {"usual_factor": each.usual_factor, "usual_models": list(each.usual_models)}
        for each in found
        if each.parameters or not each.others  # A sandbox's do not say what they take: nothing is to be chosen.
    ]


def log_at_start() -> None:
    """Once ComfyUI's server starts, have a line in its log that says whether there is a key."""
    comfy.at_start(_log_settings)


def _log_settings() -> None:
    try:
        settings = read_settings(comfy.home())
    except XaloraError as error:
        logger.warning("%s", error.text("nodes"))
        return
    if settings.server.value == "sandbox":
        logger.info("sandbox")
    elif settings.consumer.value is not None:
        logger.info("ready, key of consumer %s", settings.consumer.value)
    elif settings.kind == "own":
        logger.info("ready, without a key, for %s", settings.server.value)
    else:
        logger.info("no key yet: Settings, Xalora")


def _to_json(setting: Setting, name: str) -> dict[str, Any]:
    return {name: setting.value, "source": setting.source, "editable": setting.editable}
