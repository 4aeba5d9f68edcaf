"""Both clients behind one face, with a clock that nobody waits for."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from xalora_client import AdvancedOptions, AsyncClient, Client

SECRET = "secret-key"
KEY = f"consumer-1#{SECRET}"


class Stop(BaseException):
    """An interruption like ComfyUI's: no Exception, and of a class that the client does not know."""


class FakeClock:
    """Time that passes only when somebody sleeps. ``interrupt`` is raised at the sleep after ``naps`` sleeps."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.sleeps: list[float] = []
        self.interrupt: tuple[int, BaseException] | None = None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if self.interrupt and len(self.sleeps) == self.interrupt[0]:
            raise self.interrupt[1]
        self.sleeps.append(seconds)
        self.now += seconds

    async def nap(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)


class Subject:
    """One of the clients. ``do`` makes one, calls it, closes it, and returns what came back."""

    def __init__(self, kind: str, url: str, home: Path) -> None:
        self.kind = kind
        self.clock = FakeClock()
        self.options: dict[str, Any] = {
            "api_key": KEY,
            "workflow_url": url,
            "home": home,
            "clock": self.clock,
        }

    def do(self, action: Callable[[Any], Any], **options: Any) -> Any:
        settings = self.options | {"rng": random.Random(7)} | options
        sleep = self.clock.sleep if self.kind == "blocking" else self.clock.nap
        few = {field.name for field in fields(AdvancedOptions)} & settings.keys()
        advanced = AdvancedOptions(sleep=sleep, **{name: settings.pop(name) for name in few})
        if self.kind == "blocking":
            with Client(**settings, advanced=advanced) as client:
                return action(client)

        async def main() -> Any:
            async with AsyncClient(**settings, advanced=advanced) as client:
                answer = action(client)
                return await answer if inspect.isawaitable(answer) else answer

        return asyncio.run(main())
