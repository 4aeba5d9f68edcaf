"""What is wrong with a setup: each part is tried, settings first, then everything they point at."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...config import default_home, find, home_folder, load, stored_settings
from ...errors import ConfigurationError
from ...http.upload import WebTransport
from ...media.store import budget_of
from .check import OK, PROBLEM, WARNING, Check, failed
from .machine import check_machine
from .network import (
    check_clock,
    check_images,
    check_key,
    check_key_is_set,
    check_miners,
    check_server,
    refuse_comfyui,
)

__all__ = ["Check", "examine", "refuse_comfyui", "worst"]


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

    def note(*made: Check) -> None:
        for check in made:
            checks.append(check)
            if on_check is not None:
                on_check(check)

    web = WebTransport()
    try:
        settings = load(workflow_url=workflow_url, home=home, fallback_home=fallback_home)
    except ConfigurationError as error:
        note(failed("settings", error))
    else:
        note(check_key_is_set(settings))
        about = await check_server(settings, web)
        note(about.check)
        if about.reached:
            note(check_clock(about), *await check_key(settings, web))
        if about.takes_uploads and not settings.is_sandbox:
            note(*await check_miners(settings, web))
        note(*await check_images(settings, web, takes_uploads=about.takes_uploads))
    folder, budget = fallback_home or default_home() or Path(), budget_of(None)
    with suppress(ConfigurationError):  # It is noted above.
        folder = home_folder(home, fallback_home)
        budget = budget_of(find("media_budget", stored_settings(folder, fallback_home)).value)
    note(*await asyncio.to_thread(check_machine, comfyui_version, folder, budget))
    return checks


def worst(checks: list[Check]) -> str:
    """The worst status among them."""
    statuses = {check.status for check in checks}
    return next((status for status in (PROBLEM, WARNING) if status in statuses), OK)
