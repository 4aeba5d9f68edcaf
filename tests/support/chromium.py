"""An installed Chromium, for tests that need a real browser. It is found by its usual names, or by ``CHROMIUM``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NO_PLAYWRIGHT = "Playwright is not installed: pip install playwright"
NO_CHROMIUM = "no Chromium found: install it, or set CHROMIUM to its path"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Other names of this machine, which a page takes for other machines.
    "--host-resolver-rules=MAP *.example 127.0.0.1",
)


def path_or_skip() -> str:
    """The browser to drive. Skips the test where there is none."""
    pytest.importorskip("playwright", reason=NO_PLAYWRIGHT)
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip(NO_CHROMIUM)
    return path


def launched(path: str) -> Iterator[Any]:
    """For fixtures of a module: Chromium. Playwright keeps an event loop running, which other tests could not bear."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()
