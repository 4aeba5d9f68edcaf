"""Clients whose time passes faster, so that tests need not wait for their pauses."""

from __future__ import annotations

import asyncio
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


def hurry(monkeypatch: pytest.MonkeyPatch, client: Any, clock: FakeClock | FastClock) -> None:
    """Give this clock to all clients of a class that are made during the test, wherever they are."""
    for name, value in {"clock": clock, "sleep": clock.nap}.items():
        monkeypatch.setitem(client.__init__.__kwdefaults__, name, value)
