"""Clients whose time passes faster, so that tests need not wait for their pauses."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

import pytest

from tests.support.subject import FakeClock


class FastClock:
    """Runs ``speed`` times as fast as the real one, and so do pauses."""

    def __init__(self, speed: float) -> None:
        self.speed = speed

    def __call__(self) -> float:
        return time.monotonic() * self.speed

    async def nap(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)


def hurry(monkeypatch: pytest.MonkeyPatch, options: Any, clock: FakeClock | FastClock) -> None:
    """Give this clock to all clients that are made during the test. ``options`` is their AdvancedOptions."""
    _, *parameters = inspect.signature(options.__init__).parameters.values()
    defaults = {each.name: each.default for each in parameters} | {"clock": clock, "sleep": clock.nap}
    monkeypatch.setattr(options.__init__, "__defaults__", tuple(defaults.values()))
