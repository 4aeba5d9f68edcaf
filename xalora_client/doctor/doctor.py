"""The examination as a whole: settings first, then everything they point at."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from ..config import Config, home_folder, load, stored_settings
from ..errors import ConfigurationError
from ..http.upload import WebTransport
from ..media.store import budget_of
from .check import OK, PROBLEM, WARNING, Check, failed
from .images import check_images
from .machine import check_comfyui, check_disk, check_media, check_memory, check_proxies
from .server import check_clock, check_key, check_server


async def examine(
    *,
    workflow_url: str | None = None,
    home: str | os.PathLike[str] | None = None,
    fallback_home: Path | None = None,
    comfyui_version: str | None = None,
    on_check: Callable[[Check], object] | None = None,
) -> list[Check]:
    """Try each part of the setup. Nothing is charged, and nothing stays behind.

    The key is sent to the sequencer alone, and a small object is written to the bucket, read and removed.

    Args:
        workflow_url: As for the clients.
        home: As for the clients.
        fallback_home: As for the clients.
        comfyui_version: The version of the ComfyUI that asks. None looks for one on this machine.
        on_check: Called with each check as soon as it is done.

    Returns:
        The checks, in the order in which they were made.
    """
    checks: list[Check] = []

    def note(*found: Check) -> None:
        for check in found:
            checks.append(check)
            if on_check is not None:
                on_check(check)

    web = WebTransport()
    try:
        settings = load(workflow_url=workflow_url, home=home, fallback_home=fallback_home)
    except ConfigurationError as error:
        note(failed("settings", error))
    else:
        note(_key_is_set(settings))
        about = await check_server(settings, web)
        note(about.check)
        if about.reached:
            note(check_clock(about), *await check_key(settings, web))
        note(*await check_images(settings, web, takes_images=about.takes_images))
    folder = home_folder(home, fallback_home)
    note(await asyncio.to_thread(check_comfyui, comfyui_version))
    budget = _media_budget(folder, fallback_home)
    note(
        *await asyncio.to_thread(
            lambda: [check_disk(folder), check_memory(), check_media(folder, budget), check_proxies()]
        )
    )
    return checks


def _media_budget(home: Path, fallback_home: Path | None) -> int:
    """Bytes, as in force; the default where the settings cannot be read, which is a check of its own."""
    try:
        stored = stored_settings(home, fallback_home)
    except ConfigurationError:
        stored = {}
    return budget_of(stored.get("media_budget"))


def _key_is_set(settings: Config) -> Check:
    places = {"argument": "an argument", "environment": "the environment", ".env": "the .env file here"}
    if settings.is_sandbox:
        return Check("key", OK, "the sandbox needs none")
    if settings.credentials is None:
        try:
            settings.require_credentials()
        except ConfigurationError as error:
            return failed("key", error)
    short = settings.credentials is not None and len(settings.credentials.api_key) < 6
    text = f"set by {places.get(settings.key_source, 'the stored settings')}"
    if short:
        return Check("key", WARNING, f"{text}, and very short", "Copy the whole key from your Xalora account.")
    return Check("key", OK, text)


def worst(checks: list[Check]) -> str:
    """The worst status among them."""
    found = {check.status for check in checks}
    return PROBLEM if PROBLEM in found else WARNING if WARNING in found else OK
